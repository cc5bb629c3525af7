"""The ledger read beside the shipper."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from llm_audit.ship.ledger import FORMAT_VERSION, KEEP_MS, Ledger, LedgerError, Mark, StoredRecord
from llm_audit.ship.ledger_reader import PAGE_ROWS, LedgerReader

A, B = "w-0000000a", "w-0000000b"


def record(sequence, *, writer=A, boot=1):
    return StoredRecord(writer, boot, sequence, f"{sequence:064x}", f"{writer}-{boot}-{sequence}", 100)


def mark(sequence, *, boot=1):
    return Mark((boot, sequence), f"{sequence:064x}")


@pytest.fixture
def ledger(tmp_path):
    one = Ledger(tmp_path / "ledger.sqlite3")
    yield one
    one.close()


@pytest.fixture
def reader(ledger, tmp_path):
    one = LedgerReader(tmp_path / "ledger.sqlite3")
    yield one
    one.close()


def test_it_gives_all_rows_while_the_shipper_goes_on(ledger, reader):
    some = [record(number) for number in range(PAGE_ROWS + 500)]
    ledger.commit(some, {A: mark(1)}, 1000)
    walk = reader.rows()
    first = next(walk)
    ledger.commit([record(0, writer=B)], {}, 1000)

    assert [first, *walk] == [*some, record(0, writer=B)]
    assert reader.marks() == [(A, 1, 1)]


def test_it_tells_what_is_stored_by_row_or_by_mark(ledger, reader):
    ledger.commit([record(2), record(5), record(6)], {A: mark(3, boot=2)}, 1000)

    assert list(reader.sequences(A, 1, 3, 5)) == [5]
    assert [reader.has_row(A, 1, number) for number in (2, 3)] == [True, False]
    assert [reader.is_behind_mark(A, *place) for place in ((1, 99), (2, 3), (2, 4))] == [True, True, False]
    assert not reader.is_behind_mark(B, 1, 0)


def test_it_is_whole_until_something_is_forgotten(ledger, reader):
    assert not reader.is_whole()
    ledger.commit([record(0)], {A: mark(0)}, 1000)
    ledger.commit([record(1)], {A: mark(1)}, 1000 + KEEP_MS)
    ledger.tell(2)
    assert reader.is_whole()
    assert ledger.forget(1001 + KEEP_MS) == 1
    assert not reader.is_whole()


def test_what_is_no_ledger_or_a_newer_one_is_refused_with_advice(tmp_path):
    with pytest.raises(LedgerError, match="cannot be read"):
        LedgerReader(tmp_path / "nothing")
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"rubbish" * 1000)
    with pytest.raises(LedgerError, match="move the file away"):
        LedgerReader(rubbish)
    with closing(sqlite3.connect(tmp_path / "newer")) as newer:
        newer.execute(f"PRAGMA user_version = {FORMAT_VERSION + 1}")
    with pytest.raises(LedgerError, match="use the llm-audit that wrote it"):
        LedgerReader(tmp_path / "newer")


def test_it_knows_the_record_before_within_a_boot_and_across_boots(ledger, reader):
    ledger.commit([record(4), record(5), record(7), record(0, boot=3), record(9, writer=B)], {}, 1000)

    assert reader.before(A, 1, 5) == record(4)
    assert reader.before(A, 1, 4) is None
    assert reader.before(A, 1, 7) is None, "number 6 is missing, and 5 is not the one before"
    assert reader.before(A, 3, 0) == record(7)
    assert reader.before(A, 3, 2) is None
    assert reader.before(B, 1, 9) is None
