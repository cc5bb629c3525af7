"""The writer, the collector and the recovery die, at random and at every named point; nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import journal_child
from journal_kit import (
    Call,
    assert_whole,
    begin,
    drain,
    finish,
    loaded,
    open_writer,
    read_all,
    respond,
    roll,
    segment_files,
    start_of,
    write,
)
from llm_audit.journal import frames, recovery
from llm_audit.journal.files import segment_names
from llm_audit.journal.model import EndedExchange
from llm_audit.journal.reader import WriterReader
from llm_audit.journal.recovery import try_recover

CHILD = str(Path(journal_child.__file__))


def child(command: str, directory: Path, crash_at: str | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, **({"LLM_AUDIT_CRASH_AT": crash_at} if crash_at else {})}
    return subprocess.Popen(
        [sys.executable, CHILD, command, str(directory)], stdout=subprocess.PIPE, text=True, env=environment
    )


def run_to_death(command: str, directory: Path, crash_at: str) -> list[str]:
    with child(command, directory, crash_at) as process:
        lines = process.stdout.read().splitlines()
    assert process.returncode == -9, f"it did not pass {crash_at}: {lines[-3:]}"
    return lines


def check(found: list[EndedExchange], said: set[str]) -> None:
    """Everything said to have ended is there, whole; what had begun ended once; no sequence is missing."""
    positions = [(ended.opening.boot, ended.sequence) for ended in found]
    assert len(set(positions)) == len(positions)
    for boot in {boot for boot, _ in positions}:
        sequences = [sequence for of_boot, sequence in positions if of_boot == boot]
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    by_name: dict[str, EndedExchange] = {}
    for ended in found:
        assert ended.damage is None, ended.damage
        assert ended.request.user not in by_name
        by_name[ended.request.user] = ended
    for line in said:
        event, _, name = line.partition(" ")
        if event == "begun":
            assert name in by_name, f"{name} was begun and is gone"
        elif event == "ended":
            assert_whole(by_name[name], journal_child.call(*map(int, name.split("-"))))


def test_a_writer_killed_again_and_again_loses_nothing_while_a_reader_follows(fast_path):
    directory = fast_path / "w-00000001"
    directory.mkdir()
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    reader = WriterReader(directory)
    found: list[EndedExchange] = []
    said: set[str] = set()

    def follow() -> None:
        for ended in reader.poll(chance.choice([1, 10, 1000])):
            found.append(loaded(ended))
            reader.stored(ended)
        if chance.random() < 0.2:
            reader.collect()

    for _ in range(5):
        with child("write", directory) as process:
            for _ in range(chance.randrange(20, 400)):
                said.add(process.stdout.readline().strip())
                follow()
            process.kill()
            said.update(line.strip() for line in process.stdout if line.endswith("\n"))
    assert try_recover(directory)
    while batch := reader.poll():
        for ended in batch:
            found.append(loaded(ended))
            reader.stored(ended)
    assert len(said) > 100, f"seed {seed}"
    check(found, said)
    assert reader.open_exchanges() == 0
    reader.collect()
    assert segment_files(directory) == []


@pytest.mark.parametrize(
    "point",
    [
        "boot-numbered", "before-request:7", "after-request:7", "before-response:3", "after-response:3",
        "before-chunk:9", "mid-stream:9", "before-end:4", "after-end:4", "before-roll", "after-roll",
    ],
)  # fmt: skip
def test_a_writer_that_dies_at_a_named_point_leaves_what_it_had_acknowledged(fast_path, point):
    directory = fast_path / "w-00000001"
    said = set(run_to_death("write", directory, point))
    assert try_recover(directory)
    check(read_all(directory), said)


@pytest.mark.parametrize("point", ["recovery-written", "recovery-named"])
def test_a_recovery_that_dies_is_done_again_with_the_same_result(fast_path, point):
    directory = fast_path / "w-00000001"
    said = set(run_to_death("write", directory, "before-end:40"))
    run_to_death("recover", directory, point)
    assert try_recover(directory)
    once = read_all(directory)
    check(once, said)
    assert try_recover(directory)
    assert read_all(directory) == once
    assert not list(directory.glob("*.tmp"))


@pytest.mark.parametrize("point", ["carry-written", "carry-named", "segment-deleted", "carry-named:2"])
def test_a_collector_that_dies_loses_no_frame_of_a_call_still_open(fast_path, point):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    slow = Call("slow", (b"a", b"b", b"c"), (b"d", b"e"))
    exchange = writer.begin(start_of(slow), b"a", last=False)
    write(writer, Call("quick one"))
    roll(writer)
    exchange.request_body(b"b", last=False)
    write(writer, Call("quick two"))
    roll(writer)
    run_to_death("collect", directory, point)
    with child("collect", directory) as process:
        assert process.stdout.read() == "collected\n"
    assert [path.suffix for path in segment_files(directory)[:2]] == [".carry", ".carry"]
    exchange.request_body(b"c", last=True)
    respond(exchange, slow)
    finish(exchange, slow)
    writer.close()
    [ended] = read_all(directory)
    assert ended.sequence == 2
    assert_whole(ended, slow)


@pytest.mark.parametrize("part", range(2))
def test_a_torn_tail_ends_the_journal_and_loses_nothing_before_it(fast_path, part):
    source = fast_path / "source" / "w-00000001"
    writer = open_writer(source)
    calls = [Call("one", (b"a", b"b"), (b"c",)), Call("two", chunks=(b"d", b"e")), Call("three")]
    ends, begins = [], []
    for call in calls:
        exchange = begin(writer, call)
        begins.append(writer.offset)
        respond(exchange, call)
        finish(exchange, call)
        ends.append(writer.offset)
    data = segment_files(source)[0].read_bytes()
    writer.close()
    start = begins[0] - 50
    for at in range(start + part, ends[-1], 2):
        directory = fast_path / "w-00000001"
        directory.mkdir()
        segment = directory / "00000001-00000000.seg"
        segment.write_bytes(data[:at])
        os.truncate(segment, len(data))
        assert try_recover(directory)
        found = read_all(directory)
        assert [ended.sequence for ended in found] == list(range(len(found)))
        whole = sum(end <= at for end in ends)
        assert len(found) in {whole, whole + 1}
        assert len(found) >= sum(begun <= at for begun in begins)
        for ended, call in zip(found[:whole], calls, strict=False):
            assert_whole(ended, call)
        for ended in found[whole:]:
            assert ended.damage is None
            assert ended.end.outcome == "interrupted"
            assert ended.request.user == calls[whole].name
        shutil.rmtree(directory)


def test_a_reader_beside_a_writer_sees_each_call_as_soon_as_it_has_ended(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    reader = WriterReader(directory)
    assert reader.poll() == []
    for number in range(50):
        call = Call(f"call{number}", chunks=(b"x" * 1000,))
        exchange = begin(writer, call)
        assert reader.poll() == []
        assert reader.open_exchanges() == 1
        respond(exchange, call)
        finish(exchange, call)
        [ended] = drain(reader)
        assert_whole(ended, call)
        if number % 10 == 0:
            roll(writer)
    writer.close()


def test_a_call_whose_frames_were_carried_over_is_ended_whole_when_its_writer_dies(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    slow = Call("slow", (b"a", b"b"), (b"c", b"d"))
    exchange = begin(writer, slow)
    exchange.response(frames.encode_response_start(200, b""), b"c", last=False)
    write(writer, Call("quick"))
    roll(writer)
    reader = WriterReader(directory)
    for ended in drain(reader):
        reader.stored(ended)
    assert reader.collect().carried == 1
    roll(writer)
    exchange.response_body(b"d", last=False)
    writer.fail(RuntimeError("dead"))
    writer.close()
    assert try_recover(directory)
    for found in (drain(reader), drain(WriterReader(directory))):
        [ended] = found
        assert (ended.sequence, ended.damage, ended.end.outcome) == (1, None, "interrupted")
        assert b"".join(ended.request_body) == b"ab"
        assert [chunk.data for chunk in ended.chunks] == [b"c", b"d"]


def test_recovery_reads_only_what_open_calls_need_and_all_of_it_where_something_is_damaged(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    for number in range(3):
        write(writer, Call(f"ended{number}"))
        roll(writer)
    begin(writer, Call("open"))
    write(writer, Call("last"))
    roll(writer)
    damaged_at = writer.offset + frames.HEADER_SIZE
    write(writer, Call("behind"))
    write(writer, Call("the very last"))
    writer.fail(RuntimeError("dead"))
    writer.close()
    names = segment_names(directory)
    first = recovery._needed_from(directory, names[-1])
    assert first == 3
    reader = recovery._read(directory, 1, first)
    assert sorted(reader.segments) == [3, 4]
    assert len(reader.assembly.open) == 1
    reader.close()
    with (directory / str(names[-1])).open("r+b") as file:
        file.seek(damaged_at)
        file.write(b"\xff\xfe")
    reader = recovery._read(directory, 1, first)
    assert sorted(reader.segments) == [0, 1, 2, 3, 4]
    reader.close()
    assert try_recover(directory)
    found = read_all(directory)
    assert [ended.sequence for ended in found] == list(range(7))
    assert [ended.request_id == Call("open").id for ended in found] == [False] * 6 + [True]
    assert [bool(ended.damage) for ended in found] == [False] * 4 + [True] + [False] * 2
