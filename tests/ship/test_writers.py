from __future__ import annotations

import pytest

from journal_traffic import begin_call, call, open_writer
from llm_audit.journal.model import EndedExchange, JournalFormatError
from llm_audit.record.schema import Outcome
from llm_audit.ship.ledger import Ledger, Mark
from llm_audit.ship.line import Entry
from llm_audit.ship.writers import SCAN_EVERY_S, TROUBLE_PAUSE_S, Writers, describe


@pytest.fixture
def ledger(tmp_path):
    (tmp_path / "journal").mkdir()
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    yield ledger
    ledger.close()


def outcomes(writer, now):
    writer.read(now)
    found = []
    while isinstance(given := writer.line.next(), Entry):
        found.append(given.ended.end.outcome)
        writer.line.linked(given, "00" * 32)
        writer.line.stored(given.place, "00" * 32, "00" * 32)
    return found


def test_a_new_directory_is_found_within_a_second(tmp_path, ledger):
    writers = Writers(tmp_path / "journal", ledger, orphan_after_s=5)
    writers.scan(100.0)
    writer = open_writer(tmp_path / "journal")
    call(writer)

    writers.scan(100.0 + SCAN_EVERY_S / 2)
    assert list(writers) == []
    writers.scan(100.0 + SCAN_EVERY_S)

    assert [found.id for found in writers] == ["w-0a1b2c3d"]
    assert outcomes(writers["w-0a1b2c3d"], 101.0) == [Outcome.COMPLETE]
    writers.close()
    writer.close()


def test_a_writer_that_lives_is_never_recovered(tmp_path, ledger):
    writer = open_writer(tmp_path / "journal")
    begin_call(writer)
    writers = Writers(tmp_path / "journal", ledger, orphan_after_s=0)

    writers.scan(100.0)
    writers.scan(1000.0)

    assert outcomes(writers["w-0a1b2c3d"], 1000.0) == []
    assert writers["w-0a1b2c3d"].status().open_exchanges == 1
    writers.close()
    writer.close()


def test_a_dead_writer_is_recovered_only_when_nobody_adopted_it_for_a_while(tmp_path, ledger):
    writer = open_writer(tmp_path / "journal")
    begin_call(writer)
    writer.close()
    writers = Writers(tmp_path / "journal", ledger, orphan_after_s=5)

    for now in (100.0, 104.9):
        writers.scan(now)
        assert outcomes(writers["w-0a1b2c3d"], now) == []
    writers.scan(106.0)

    assert outcomes(writers["w-0a1b2c3d"], 106.0) == [Outcome.INTERRUPTED]
    writers.close()


def test_an_adopted_writer_that_dies_again_is_waited_for_again(tmp_path, ledger):
    writers = Writers(tmp_path / "journal", ledger, orphan_after_s=5)
    for start in (100.0, 200.0):
        writer = open_writer(tmp_path / "journal")
        begin_call(writer)
        writers.scan(start)
        writer.close()
        writers.scan(start + 10)
        assert outcomes(writers["w-0a1b2c3d"], start + 10) == []
        writers.scan(start + 16)
        assert outcomes(writers["w-0a1b2c3d"], start + 16) == [Outcome.INTERRUPTED]
    writers.close()


def test_a_writer_that_came_and_died_between_two_scans_is_recovered_too(tmp_path, ledger):
    writers = Writers(tmp_path / "journal", ledger, orphan_after_s=0)
    for now in (100.0, 200.0):
        writer = open_writer(tmp_path / "journal")
        begin_call(writer)
        writer.close()
        writers.scan(now)
        assert outcomes(writers["w-0a1b2c3d"], now) == [Outcome.INTERRUPTED]
    writers.close()


def test_a_line_begins_where_the_ledger_says(tmp_path, ledger):
    writer = open_writer(tmp_path / "journal")
    for _ in range(3):
        call(writer)
    ledger.commit([], {"w-0a1b2c3d": Mark((1, 1), "ab" * 32)}, 1000)
    writers = Writers(tmp_path / "journal", ledger, orphan_after_s=5)
    writers.scan(100.0)
    found = writers["w-0a1b2c3d"]

    found.read(100.0)

    assert [isinstance(found.line.next(), EndedExchange) for _ in range(2)] == [True, True]
    assert found.line.next().previous_sha256 == "ab" * 32
    writers.close()
    writer.close()


def test_a_journal_in_trouble_is_left_alone_for_a_while_and_says_why(tmp_path, ledger):
    writer = open_writer(tmp_path / "journal")
    call(writer)
    writers = Writers(tmp_path / "journal", ledger, orphan_after_s=5)
    writers.scan(100.0)
    found = writers["w-0a1b2c3d"]
    real = found.reader.poll
    found.reader.poll = failing

    found.read(100.0)
    assert "I/O trouble" in found.status().error
    found.reader.poll = real
    assert outcomes(found, 100.0 + TROUBLE_PAUSE_S - 1) == []
    assert outcomes(found, 100.0 + TROUBLE_PAUSE_S) == [Outcome.COMPLETE]

    assert found.status().error is None
    writers.close()
    writer.close()


def failing(_):
    raise OSError("I/O trouble")


def test_only_errors_that_are_meant_for_people_are_quoted():
    assert describe(JournalFormatError("use a newer llm-audit")) == "use a newer llm-audit"
    with pytest.raises(ValueError, match="secret") as raised:
        int("somebody's secret")
    assert describe(raised.value).startswith("ValueError in test_writers.py, line ")
