"""One damaged byte, anywhere: at most the exchange that it hits is quarantined, in its place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from journal_kit import (
    Call,
    begin,
    finish,
    open_writer,
    read_all,
    respond,
    roll,
    segment_files,
    write,
)
from llm_audit.journal import frames
from llm_audit.journal.frames import Kind
from llm_audit.journal.model import EndedExchange
from llm_audit.journal.recovery import try_recover

FIRST, SECOND, THIRD, FOURTH, FIFTH = (
    Call("one", (b"{a}",), (b"x" * 30, b"y" * 9)),
    Call("two", (b"{b}", b"more"), (b"z",)),
    Call("three", (b"{c}",), ()),
    Call("four", (b"{d}",), (b"w", b"v")),
    Call("five", (b"{e}",), (b"u",)),
)


def used_end(data: bytes) -> int:
    return len(data.rstrip(b"\0"))


@pytest.fixture
def journal(fast_path: Path) -> Path:
    """Two boots: interleaved calls over two segments and one that its writer's death interrupted; then a clean one."""
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    first = begin(writer, FIRST)
    second = begin(writer, SECOND)
    respond(first, FIRST)
    finish(first, FIRST)
    roll(writer)
    respond(second, SECOND)
    fourth = begin(writer, FOURTH)
    write(writer, THIRD)
    respond(fourth, FOURTH)
    finish(second, SECOND)
    writer.fail(RuntimeError("killed"))
    writer.close()
    writer = open_writer(directory)
    write(writer, FIFTH)
    writer.close()
    return directory


def comparable(ended: EndedExchange) -> tuple[object, ...]:
    return (
        ended.opening,
        ended.sequence,
        ended.request_id,
        ended.request,
        list(ended.request_body),
        ended.response,
        list(ended.chunks),
        ended.end,
        ended.damage,
    )


def places(journal: Path) -> list[tuple[Path, int]]:
    """Every byte of every frame and header, and some after them (of later OPEN frames, every fifth)."""
    found = []
    for index, path in enumerate(segment_files(journal)):
        data = path.read_bytes()
        first_frame = frames.FILE_HEADER_SIZE + 2 * (len(data[64:].split(b"}")[0]) + 1)
        found.extend(
            (path, at)
            for at in range(min(used_end(data) + 20, len(data)))
            if index == 0 or at % 5 == 0 or not frames.FILE_HEADER_SIZE <= at < first_frame
        )
    return found


def flip(path: Path, at: int, change: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        value = file.read(1)[0]
        file.seek(at)
        file.write(bytes((value ^ change,)))


@pytest.mark.parametrize("part", range(6))
def test_one_flipped_byte_quarantines_at_most_the_exchange_it_hits(journal, part):
    whole = [comparable(ended) for ended in read_all(journal)]
    assert [one[8] for one in whole] == [None] * 5
    hits = 0
    for path, at in places(journal)[part::6]:
        change = (0x01, 0xFF, 0x80, 0x55, 0x10)[at % 5]
        flip(path, at, change)
        found = read_all(journal)
        flip(path, at, change)
        where = f"{path.name} at {at} xor {change:#x}"
        assert [(one.opening.boot, one.sequence) for one in found] == [
            (one[0].boot, one[1]) for one in whole
        ], where
        damaged = [index for index, one in enumerate(found) if one.damage]
        assert len(damaged) <= 1, where
        hits += len(damaged)
        for index, (one, before) in enumerate(zip(found, whole, strict=True)):
            if index in damaged:
                assert one.request_id == before[2], where
                assert one.damaged_frames, where
            else:
                assert comparable(one) == before, where
    assert hits > 0


@pytest.mark.parametrize("part", range(4))
def test_a_byte_flipped_before_recovery_costs_at_most_one_exchange(journal, fast_path, part):
    for path in journal.iterdir():
        if path.name.startswith(("00000002", "00000001-00000002")):
            path.unlink()  # what recovery and the second boot wrote
    before = fast_path / "before"
    shutil.copytree(journal, before)
    assert try_recover(journal)
    whole = {one.request_id: comparable(one) for one in read_all(journal)}
    assert len(whole) == 4
    for place, at in places(before)[part::40]:
        shutil.rmtree(journal)
        shutil.copytree(before, journal)
        flip(journal / place.name, at, 0x10)
        assert try_recover(journal)
        found = read_all(journal)
        where = f"{place.name} at {at}"
        assert [one.sequence for one in found] == [0, 1, 2, 3], where
        changed = [one for one in found if comparable(one) != whole.get(one.request_id)]
        assert len(changed) <= 1, where
        for one in changed:  # quarantined; or its END frame was the last one, which looks like a torn tail
            assert one.damage or one.end.outcome == "interrupted", where


@pytest.mark.parametrize("kind", [Kind.REQUEST, Kind.RESPONSE, Kind.END, Kind.CLOSE])
def test_a_frame_that_no_writer_makes_costs_its_own_call_though_its_sum_is_right(fast_path, kind):
    """As where a header was put right by mistake: once in some hundred thousand damaged frames."""
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    write(writer, FIRST)
    exchange = begin(writer, SECOND)
    data = frames.frame(
        writer.marker, kind, b"?", at=writer.offset, number=exchange.count, exchange=exchange.number
    )
    writer.map[writer.offset : writer.offset + len(data)] = data
    writer.offset += len(data)
    exchange.count += 1
    write(writer, THIRD)
    respond(exchange, SECOND)
    finish(exchange, SECOND)
    write(writer, FOURTH)
    writer.fail(RuntimeError("killed"))
    writer.close()
    assert try_recover(directory)
    found = read_all(directory)
    assert [one.request_id for one in found] == [call.id for call in (FIRST, THIRD, SECOND, FOURTH)]
    assert [bool(one.damage) for one in found] == [False, False, True, False]
