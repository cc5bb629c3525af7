from __future__ import annotations

import errno
import random
import tracemalloc
from pathlib import Path

import pytest

from journal_kit import (
    Call,
    assert_whole,
    begin,
    drain,
    finish,
    open_writer,
    read_all,
    respond,
    roll,
    segment_files,
    start_of,
    write,
)
from llm_audit.journal import frames
from llm_audit.journal.files import new_writer_directory, segment_names, used_bytes, writer_directories
from llm_audit.journal.model import EndedExchange, JournalFailedError
from llm_audit.journal.reader import WriterReader
from llm_audit.journal.recovery import orphans, try_recover
from llm_audit.record.schema import Outcome


def names(directory: Path) -> list[str]:
    return [str(name) for name in segment_names(directory)]


def store(reader: WriterReader, found: list[EndedExchange]) -> None:
    for ended in found:
        reader.stored(ended)


def test_a_poll_gives_no_more_than_it_was_asked_for_and_goes_on_where_it_stopped(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    calls = [Call(f"call{n}") for n in range(25)]
    for call in calls:
        write(writer, call)
        if call.name == "call12":
            roll(writer)
    reader = WriterReader(directory)
    sizes = []
    found = []
    while batch := reader.poll(10):
        sizes.append(len(batch))
        found.extend(batch)
    assert sizes == [10, 10, 5]
    for ended, call in zip(found, calls, strict=True):
        assert_whole(ended, call)
    writer.close()


def test_what_is_given_out_was_synced_first_and_is_given_later_where_the_sync_failed(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    write(writer, Call("call"))
    outcomes = [OSError(errno.EIO, "Input/output error"), None]

    def sync(_: int) -> None:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome

    reader = WriterReader(directory, sync=sync)
    with pytest.raises(JournalFailedError, match="Input/output error"):
        reader.poll()
    assert len(reader.poll()) == 1
    assert outcomes == []
    writer.close()


def test_segments_go_once_their_exchanges_are_stored_and_the_living_one_stays(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    reader = WriterReader(directory)
    for number in range(4):
        write(writer, Call(f"call{number}"))
        roll(writer)
    found = drain(reader)
    before = used_bytes(directory)
    assert reader.collect().segments == 0
    store(reader, found[1:])
    assert reader.collect().segments == 0  # the first is not stored, and order is kept
    assert reader.oldest_unstored_wall_ns() == 1_700_000_000_000_000_000
    store(reader, found[:1])
    freed = reader.collect()
    assert freed.segments >= 3
    assert freed.bytes == before - used_bytes(directory) > 0
    assert reader.unstored() == 0
    write(writer, Call("later"))
    assert len(drain(reader)) == 1
    writer.close()
    found = drain(reader)
    assert names(directory) != []


def test_a_closed_boot_goes_entirely_once_it_is_stored(fast_path):
    directory = fast_path / "w-00000001"
    for _ in range(3):
        writer = open_writer(directory)
        write(writer, Call("call"))
        writer.close()
    reader = WriterReader(directory)
    store(reader, drain(reader))
    reader.collect()
    assert names(directory) == []
    writer = open_writer(directory)
    assert writer.opening.boot == 4
    write(writer, Call("again"))
    assert len(drain(reader)) == 1
    writer.close()


def test_one_slow_call_pins_no_segment_and_comes_back_whole(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    slow = Call("slow", (b"a", b"b"), tuple(bytes((n,)) * 50 for n in range(1, 9)))
    exchange = begin(writer, slow)
    exchange.response(frames.encode_response_start(200, b""), b"", last=False)
    reader = WriterReader(directory)
    for number, chunk in enumerate(slow.chunks):
        exchange.response_body(chunk, last=False)
        write(writer, Call(f"quick{number}", (b"x" * 10_000,)))
        roll(writer)
        store(reader, drain(reader))
        reader.collect()
        live = [name for name in names(directory) if name.endswith(".seg")]
        assert len(live) <= 2 + 1  # the one being written, the one prepared, one just left
    assert used_bytes(directory) < 4 << 20
    exchange.response_body(b"", last=True)
    finish(exchange, slow)
    [ended] = drain(WriterReader(directory))[-1:]
    assert_whole(ended, slow)
    [ended] = drain(reader)
    assert_whole(ended, slow)
    store(reader, [ended])
    roll(writer)
    drain(reader)
    reader.collect()
    assert all(name.endswith(".seg") for name in names(directory))
    writer.close()


def test_a_new_reader_takes_up_after_carry_overs_without_a_gap_or_a_ghost(fast_path):  # noqa: C901 - one scenario
    """Any interleaving of calls, rolls, storing, collecting and new readers: each call is given, whole, until stored."""
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    reader = WriterReader(directory)
    pending, stored, known = [], set(), {}
    waiting: list[EndedExchange] = []
    for step in range(1500):
        action = chance.random()
        if action < 0.35:
            call = Call(f"call{step}", (b"q" * 50, b"r"), tuple(b"%d" % n * 9 for n in range(step % 4)))
            pending.append((begin(writer, call), call))
        elif action < 0.68 and pending:
            at = 0 if chance.random() < 0.05 else chance.randrange(len(pending) // 2, len(pending))
            exchange, call = pending.pop(at)
            respond(exchange, call)
            known[finish(exchange, call)] = call
        elif action < 0.72 and used_bytes(directory) < 6 << 20:
            roll(writer)
        elif action < 0.9:
            waiting.extend(reader.poll(chance.choice([1, 50])))
        elif action < 0.97:
            for ended in waiting[: chance.randrange(1, 20)]:
                if ended.sequence not in stored:
                    assert_whole(ended, known[ended.sequence])
                    stored.add(ended.sequence)
                reader.stored(ended)
                waiting.remove(ended)
            reader.collect()
        elif action < 0.98:
            reader.close()
            reader, waiting = WriterReader(directory), []
    for exchange, call in pending:
        respond(exchange, call)
        known[finish(exchange, call)] = call
    writer.close()
    waiting.extend(drain(reader))
    for ended in waiting:
        if ended.sequence not in stored:
            assert_whole(ended, known[ended.sequence])
            stored.add(ended.sequence)
        reader.stored(ended)
    assert stored == set(range(len(known))), f"seed {seed}"
    assert reader.open_exchanges() == 0
    reader.collect()
    assert names(directory) == []


def test_frames_copied_into_bodies_are_never_read_as_frames_even_where_lengths_beside_them_are_damaged(
    fast_path,
):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    write(writer, Call("first", (b"a",), (b"b",)))
    path = segment_files(directory)[0]
    copied = path.read_bytes()[: writer.offset]
    forged = Call("forger", (b"!", copied[64:]), (copied, copied[200:] * 3))
    where = []
    exchange = begin(writer, Call("forger", (b"!",)))
    exchange.request_body(copied[64:], last=True)
    exchange.response(frames.encode_response_start(200, b""), b"", last=False)
    for chunk in forged.chunks:
        where.append(writer.offset)
        exchange.response_body(chunk, last=False)
    finish(exchange, forged)
    write(writer, Call("last"))
    writer.close()
    found = read_all(directory)
    assert [one.request.user for one in found] == ["first", "forger", "last"]
    assert_whole(found[1], forged)
    data = bytearray(path.read_bytes())
    for at in where:
        for length in (0, 1, 24, 48, 64, 200, 1 << 20, 0xFFFFFFFF):
            for damage in (b"", b"\xff\xff"):  # the length alone, which can be restored; and the sum too
                changed = data[:]
                changed[at + frames.LENGTH_AT : at + frames.LENGTH_AT + 4] = length.to_bytes(4, "little")
                changed[at + frames.HEADER.size : at + frames.HEADER.size + len(damage)] = damage
                path.write_bytes(changed)
                found = read_all(directory)
                assert [one.sequence for one in found] == [0, 1, 2]
                assert [one.request.user for one in found] == ["first", "forger", "last"]
                assert [bool(one.damage) for one in (found[0], found[2])] == [False, False]
                if found[1].damage is None:
                    assert_whole(found[1], forged)


def test_a_long_stream_costs_its_reader_references_and_not_bytes(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory, limit=512 << 20)
    exchange = writer.begin(start_of(Call("stream")), b"q" * 20_000_000, last=True)
    exchange.response(frames.encode_response_start(200, b""), b"", last=False)
    for _ in range(20_000):
        exchange.response_body(b"c" * 240, last=False)
    reader = WriterReader(directory, sync=lambda _: None)
    reader.poll()
    tracemalloc.start()
    try:
        reader = WriterReader(directory, sync=lambda _: None)
        assert reader.poll() == []
        held, peak = tracemalloc.get_traced_memory()
        assert held < 1_000_000
        assert peak < 3_000_000
        exchange.end(Outcome.COMPLETE, 200, 0, None)
        [ended] = reader.poll()
        assert sum(map(len, ended.request_body)) == 20_000_000
        assert sum(1 for chunk in ended.chunks if len(chunk.data) == 240) == len(ended.chunks) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert ended.chunks[-1].data == ended.chunks[19_999].data == b"c" * 240
    assert [chunk.data for chunk in ended.chunks[:2]] == [b"c" * 240] * 2
    assert len(ended.request_body[1:]) == len(ended.request_body) - 1
    writer.close()


def test_directories_without_a_living_writer_are_found_and_recovered_and_others_left_alone(fast_path):
    living, dead = fast_path / "w-0000000a", fast_path / "w-0000000b"
    writer = open_writer(living)
    write(writer, Call("alive"))
    other = open_writer(dead)
    begin(other, Call("left open"))
    other.fail(RuntimeError("dead"))
    other.close()
    assert writer_directories(fast_path) == [living, dead]
    assert orphans(fast_path) == [dead]
    assert not try_recover(living)
    assert try_recover(dead)
    [ended] = read_all(dead)
    assert ended.end.outcome == Outcome.INTERRUPTED
    writer.close()
    assert orphans(fast_path) == [living, dead]


def test_a_new_writer_gets_a_name_of_its_own(fast_path):
    first, second = new_writer_directory(fast_path), new_writer_directory(fast_path)
    assert first != second
    assert first.name.startswith("w-")
    assert len(first.name) == 10
    assert writer_directories(fast_path / "missing") == []
    open_writer(first).close()
    assert writer_directories(fast_path) == [first]


def test_a_stub_keeps_what_could_not_be_read(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    start = writer.offset
    write(writer, Call("hit", (b"the request",), (b"the reply",)))
    write(writer, Call("other"))
    writer.close()
    [path] = segment_files(directory)
    data = bytearray(path.read_bytes())
    at = data.index(b"the request")
    data[at] ^= 1
    path.write_bytes(data)
    hit, other = read_all(directory)
    assert hit.damage == "frames 0 to 0 are missing"
    assert hit.request_id == Call("hit").id
    assert hit.damaged_frames[: frames.HEADER_SIZE] == bytes(data[start : start + frames.HEADER_SIZE])
    assert b"uhe request" in hit.damaged_frames
    assert b"the reply" in hit.damaged_frames
    assert other.damage is None


def test_the_journal_of_a_newer_version_is_refused(fast_path):
    directory = fast_path / "w-00000001"
    open_writer(directory).close()
    [path] = segment_files(directory)
    data = bytearray(path.read_bytes())
    for at in (8, 18, 28):
        data[at] += 1
    path.write_bytes(data)
    with pytest.raises(frames.JournalFormatError, match="a newer one"):
        read_all(directory)
