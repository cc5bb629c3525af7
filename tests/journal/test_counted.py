"""Calls that are only counted: each count becomes a record, once, whatever dies when."""

from __future__ import annotations

import asyncio
import re
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journal_kit import Call, begin, open_writer, read_all, write
from llm_audit.journal.counted import OTHER, SIZE, UNAUDITED, CountedCalls, Reason, read_counts, read_refusals
from llm_audit.journal.recovery import try_recover
from llm_audit.journal.writer import JournalWriter
from llm_audit.record.schema import Outcome

REFUSED = Reason(429, "rate_limit_exceeded")


def die(writer: JournalWriter) -> None:
    """Leave everything as SIGKILL does: nothing is ended or told."""
    writer.fail(RuntimeError("dead"))
    writer.close()


def said(directory) -> list[str]:
    """What the counting records of a journal say, up to the numbers."""
    messages = [ended.end.error.message for ended in read_all(directory) if ended.end.error is not None]
    return [message.partition(" of this writer")[0] for message in messages if "(numbers" in message]


def told(directory) -> int:
    return sum(int(re.match(r"[\d,]+", message)[0].replace(",", "")) for message in said(directory))


def test_calls_that_were_only_counted_become_one_record_a_reason(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    for number in range(3):
        writer.counts.count(UNAUDITED)
        writer.counts.count(REFUSED, f"10.0.0.{number} app: too fast")
    writer.tell_counted()
    write(writer, Call("after"))
    writer.counts.count(UNAUDITED)
    writer.close()
    first, second, _, last = read_all(directory)
    assert (first.end.error.type, first.end.outcome, first.end.status_code) == (
        "unaudited",
        Outcome.INTERRUPTED,
        None,
    )
    assert first.end.error.message.startswith(
        "3 calls went through unrecorded (numbers 1 to 3 of this writer)"
    )
    assert (second.end.error.type, second.end.outcome, second.end.status_code) == (
        "rate_limit_exceeded",
        Outcome.REJECTED,
        429,
    )
    assert re.fullmatch(
        r"3 calls refused with 429 rate_limit_exceeded and not recorded one by one \(numbers 1 to 3 of this "
        r"writer\) from \S+ to \S+, such as 10\.0\.0\.0 app: too fast; 10\.0\.0\.1 app: too fast; "
        r"10\.0\.0\.2 app: too fast",
        second.end.error.message,
    )
    assert last.end.error.message.startswith("1 call went through unrecorded (numbers 4 to 4")
    assert len({first.request_id, second.request_id, last.request_id}) == 3


def test_a_count_outlives_its_process_and_becomes_a_record_of_the_dead_boot(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    write(writer, Call("before"))
    writer.counts.count(UNAUDITED)
    writer.counts.count(REFUSED)
    die(writer)
    for _ in range(2):
        open_writer(directory).close()
    _, passed, refused = read_all(directory)
    assert [(one.opening.boot, one.sequence, one.damage) for one in (passed, refused)] == [
        (1, 1, None),
        (1, 2, None),
    ]
    assert "numbers 1 to 1" in passed.end.error.message
    assert refused.end.status_code == 429


def test_a_count_whose_record_was_written_is_not_told_again_and_one_whose_was_not_is(fast_path):
    for written in (True, False):
        directory = fast_path / f"w-{written:08d}"
        writer = open_writer(directory)
        write(writer, Call("before"))
        for _ in range(5):
            writer.counts.count(REFUSED)
        (counted,) = writer.counts.pending()
        writer.counts.will_be_told(counted, writer.opening.boot, writer.next_sequence)
        if written:
            exchange = writer.begin(counted.start(1), b"", last=True)
            exchange.end(counted.outcome, 429, None, counted.error())
        writer.counts.count(REFUSED)
        die(writer)
        assert try_recover(directory)
        assert told(directory) == 6
        open_writer(directory).close()
        assert told(directory) == 6


def test_a_record_half_written_at_death_ends_as_interrupted_and_its_count_is_told(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    writer.counts.count(REFUSED)
    (counted,) = writer.counts.pending()
    writer.counts.will_be_told(counted, writer.opening.boot, writer.next_sequence)
    writer.begin(counted.start(1), b"", last=True)
    die(writer)
    assert try_recover(directory)
    half, whole = read_all(directory)
    assert half.end.error.type == "interrupted"
    assert whole.end.error.message.startswith("1 call refused")


@pytest.mark.parametrize("named", [True, False])
def test_a_recovery_that_dies_tells_a_count_once_when_it_is_done_again(fast_path, named, monkeypatch):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    writer.counts.count(REFUSED)
    begin(writer, Call("open"))
    die(writer)

    class DiedError(Exception):
        pass

    def dies(point: str) -> None:
        if point == ("recovery-named" if named else "recovery-written"):
            raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr("llm_audit.journal.crash.point", dies)
        with pytest.raises(DiedError):
            try_recover(directory)
    open_writer(directory).close()
    assert told(directory) == 1
    assert [ended.end.error.type for ended in read_all(directory)] == ["interrupted", "rate_limit_exceeded"]


def test_what_is_counted_after_a_boot_s_end_is_told_by_the_next(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    die(writer)
    writer.counts.count(REFUSED)
    writer = open_writer(directory)
    writer.tell_counted()
    writer.close()
    assert told(directory) == 1


def test_refusals_that_have_used_up_their_share_are_told_when_the_boot_ends(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    while writer.room_for_refusal(1000):
        pass
    writer.counts.count(REFUSED)
    writer.tell_counted()
    assert len(writer.counts.pending()) == 1
    writer.close()
    assert told(directory) == 1


def test_what_is_counted_while_an_earlier_record_is_on_its_way_to_the_disk_is_told_when_the_boot_ends(
    fast_path,
):
    directory = fast_path / "w-00000001"
    loop = asyncio.new_event_loop()  # it never runs: nobody hears that the first record is durable
    writer = open_writer(directory, loop=loop)
    writer.counts.count(REFUSED)
    writer.tell_counted()
    for _ in range(7):
        writer.counts.count(REFUSED)
    writer.tell_counted()
    assert told(directory) == 1
    writer.close()
    loop.close()
    assert told(directory) == 8
    assert read_refusals(directory) == (8, 8)


def test_what_finds_no_room_in_a_full_journal_when_the_boot_ends_is_told_by_recovery(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory, limit=4 << 20)
    while writer.has_room(4096) or (writer.blocked is None and writer._spares.wait(1.0)):
        write(writer, Call("filler", request=(bytes(2000),)))
    for _ in range(7):
        writer.counts.count(REFUSED)
    writer.close()
    assert told(directory) == 0
    assert try_recover(directory)
    assert told(directory) == 7
    open_writer(directory, limit=4 << 20).close()
    assert told(directory) == 7


def test_two_openings_of_one_file_give_each_reason_a_place_of_its_own(tmp_path):
    old, new = CountedCalls(tmp_path), CountedCalls(tmp_path)
    old.count(Reason(404, "unknown_path"))
    new.count(Reason(400, "invalid_header"))
    old.count(Reason(400, "invalid_header"))
    found = {counted.reason.code: counted.last for counted in new.pending()}
    assert found == {"unknown_path": 1, "invalid_header": 2}
    assert [counted.reason for counted in CountedCalls(tmp_path).pending()] == [
        Reason(404, "unknown_path"),
        Reason(400, "invalid_header"),
    ]


def test_more_reasons_than_places_are_counted_together(tmp_path):
    counts = CountedCalls(tmp_path)
    for number in range(100):
        counts.count(Reason(400, f"reason-{number}"))
    found = counts.pending()
    assert sum(counted.last for counted in found) == 100
    assert found[-1].reason == OTHER
    assert found[-1].last == 100 - 62
    assert (tmp_path / "counted").stat().st_size == SIZE


def test_samples_are_few_and_begin_anew_with_each_record(tmp_path):
    counts = CountedCalls(tmp_path)
    for number in range(20):
        counts.count(REFUSED, f"{number}")
    (counted,) = counts.pending()
    assert counted.samples == "0; 1; 2; 3; 4"
    counts.will_be_told(counted, 1, 0)
    assert counts.pending() == []
    counts.count(REFUSED, "é" * 2000)
    counts.count(REFUSED, "next")
    counts.settle(1, 1)
    (counted,) = counts.pending()
    assert (counted.first, counted.last, counted.samples) == (21, 22, "next")


def test_the_page_of_an_older_journal_is_taken_over_with_its_count(tmp_path):
    (tmp_path / "unaudited").write_bytes(
        struct.pack("<QQQQ", 9, 7, 5_000_000_000, 6_000_000_000).ljust(4096, b"\0")
    )
    counts = CountedCalls(tmp_path)
    (counted,) = counts.pending()
    assert (counted.first, counted.last) == (8, 9)
    assert "from 1970-01-01T00:00:05Z to 1970-01-01T00:00:06Z" in counted.error().message
    assert not (tmp_path / "unaudited").exists()


@given(steps=st.lists(st.sampled_from(["pass", "refuse", "call", "tell", "die", "close"]), max_size=25))
@settings(max_examples=25)
def test_every_count_is_told_exactly_once_whatever_dies_when(steps):
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        directory = Path(folder) / "w-00000001"
        writer = open_writer(directory)
        counted = 0
        for number, step in enumerate(steps):
            if step in ("pass", "refuse"):
                writer.counts.count(UNAUDITED if step == "pass" else REFUSED)
                counted += 1
            elif step == "call":
                write(writer, Call(f"call{number}"))
            elif step == "tell":
                writer.tell_counted()
            else:
                die(writer) if step == "die" else writer.close()
                writer = open_writer(directory)
        writer.close()
        assert told(directory) == counted


def test_the_counts_are_read_beside_the_writer_without_making_anything(tmp_path):
    assert (read_counts(tmp_path), read_refusals(tmp_path)) == ((0, 0), (0, 0))
    assert list(tmp_path.iterdir()) == []
    counts = CountedCalls(tmp_path)
    for reason in (UNAUDITED, UNAUDITED, REFUSED, REFUSED, Reason(403, "no")):
        counts.count(reason)
    assert (read_counts(tmp_path), read_refusals(tmp_path)) == ((2, 0), (3, 0))
    for counted in counts.pending()[:2]:
        counts.will_be_told(counted, 1, counted.slot)
    counts.settle(1, 2)
    assert (read_counts(tmp_path), read_refusals(tmp_path)) == ((2, 2), (3, 2))
    counts.close()
