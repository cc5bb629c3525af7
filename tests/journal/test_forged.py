"""Frames in bodies: whatever a caller or a model sends, and whichever byte is damaged beside it, nothing is forged.

Three bodies, from weak to strong: frames copied from this very segment (own marker, own boot) or another writer's; such
frames with their sums made anew for the place where they will lie, as only somebody could who knows the marker, which
never leaves the host, and the offset. Then a byte is flipped, or a page is lost to a power cut.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from journal_kit import Call, begin, finish, open_writer, read_all, respond, segment_files, start_of
from llm_audit.journal import frames, recovery
from llm_audit.journal.frames import HEADER_SIZE, LAST, EndFrame, Kind
from llm_audit.journal.model import End, EndedExchange
from llm_audit.journal.openings import encode_close
from llm_audit.journal.recovery import try_recover
from llm_audit.journal.writer import JournalWriter
from llm_audit.record.schema import Outcome

COPIED = st.tuples(
    st.sampled_from(["own", "other"]), st.integers(0, 6), st.integers(1, 6), st.binary(max_size=9)
)
"""Whose frames, from which on, how many, and what stands before them."""
MADE = st.sampled_from(["call", "end", "close", "body"])
"""A call that nobody made; an END of this or an earlier open call; the boot's CLOSE; a piece of an open call."""
PAGE = 4096


@contextmanager
def folder() -> Iterator[Path]:
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="forged-", dir=memory if memory.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def whole_frames(data: bytes) -> list[bytes]:
    """Part a segment into its frames."""
    marker, found, at = frames.decode_file_header(data[:64], "it"), [], frames.FILE_HEADER_SIZE
    view = memoryview(data)
    while frames.is_frame(view, at, marker):
        end = at + HEADER_SIZE + frames.WHOLE_HEADER.unpack_from(data, at)[7]
        found.append(data[at:end])
        at = end
    return found


def copied(writer: JournalWriter, other: bytes, plan: list[tuple[str, int, int, bytes]]) -> bytes:
    own = bytes(writer.map[: writer.offset])
    parts = []
    for whose, first, count, before in plan:
        there = whole_frames(own if whose == "own" else other)
        parts += [before, *there[first : first + count]]
    return b"".join(parts)


def made(writer: JournalWriter, plan: list[str], at: int) -> bytes:
    """Make frames that would be right at this offset, had the writer written them."""
    data = b""
    exchange = writer._exchanges + 1  # the call in whose body they come

    def put(kind: Kind, payload: bytes, of: int, number: int) -> None:
        nonlocal data
        data += frames.frame(
            writer.marker, kind, payload, at=at + len(data), number=number, exchange=of, mono_ns=7, flags=LAST
        )

    for sequence, what in enumerate(plan, writer.next_sequence):
        end = frames.encode_end(EndFrame(End(sequence, Outcome.COMPLETE, 200, 0, 7, None), 2, b"f" * 16))
        if what == "call":
            put(Kind.REQUEST, start_of(Call("forged")) + b"nobody said this", exchange + 1, 0)
            put(Kind.END, end, exchange + 1, 1)
        elif what == "end":
            put(Kind.END, end, exchange, 1)
        elif what == "close":
            put(Kind.CLOSE, encode_close(sequence), 0, 0)
        else:
            put(Kind.RESPONSE_BODY, b"nobody said this either", exchange, 1)
    return data


def write_calls(writer: JournalWriter, bodies) -> tuple[dict[bytes, Call], list[int]]:
    """Write a call for each body; give them by id, and where each of their frames begins."""
    calls: dict[bytes, Call] = {}
    for index, body_at in enumerate(bodies):
        name = f"call{index}"
        start = start_of(Call(name))
        body = body_at(writer.offset + HEADER_SIZE + len(start))
        call = Call(name, (body or b"-",), (b"answer", body or b"+"))
        exchange = begin(writer, call)
        respond(exchange, call)
        finish(exchange, call)
        calls[call.id] = call
    return calls, places_of(bytes(writer.map[: writer.offset]))


def places_of(data: bytes) -> list[int]:
    places, at = [], frames.FILE_HEADER_SIZE
    for one in whole_frames(data):
        places.append(at)
        at += len(one)
    return places


def assert_nothing_forged(found: list[EndedExchange], calls: dict[bytes, Call]) -> None:
    assert [ended.sequence for ended in found] == list(range(len(found)))
    assert len(found) <= len(calls)
    whole = [ended for ended in found if ended.damage is None]
    assert len({ended.request_id for ended in whole}) == len(whole)
    for ended in whole:
        call = calls[ended.request_id]
        assert call.id == ended.request.request_id
        chunks = [chunk.data for chunk in ended.chunks]
        if ended.end.outcome is Outcome.COMPLETE:
            assert ended.sequence == list(calls).index(call.id)
            assert b"".join(ended.request_body) == call.request[0]
            assert chunks == list(call.chunks)
        else:
            assert b"".join(ended.request_body) in {b"", call.request[0]}
            assert chunks == list(call.chunks)[: len(chunks)]


def flip(path: Path, at: int, change: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        value = file.read(1)[0]
        file.seek(at)
        file.write(bytes((value ^ change,)))


@st.composite
def flips(draw, places: list[int], data: bytes) -> tuple[int, int]:
    """Choose a byte to flip: mostly of a length, else of any header, else any at all."""
    where = draw(st.sampled_from(["length", "length", "header", "anywhere"]))
    place = draw(st.sampled_from(places))
    if where == "length":
        at = place + frames.LENGTH_AT + draw(st.integers(0, 3))
    elif where == "header":
        at = place + draw(st.integers(0, HEADER_SIZE - 1))
    else:
        at = draw(st.integers(places[0], len(data) - 1))
    return at, draw(st.integers(1, 255))


def other_segment(scratch: Path) -> bytes:
    writer = open_writer(scratch / "w-0000000f")
    for name in ("other one", "other two"):
        call = Call(name, chunks=(b"x",))
        exchange = begin(writer, call)
        respond(exchange, call)
        finish(exchange, call)
    writer.close()
    return segment_files(scratch / "w-0000000f")[0].read_bytes()


@settings(max_examples=20)
@given(st.data(), st.lists(st.lists(COPIED, max_size=4), min_size=1, max_size=5))
def test_copied_frames_are_a_body_whichever_byte_is_flipped_beside_them(data, plans):
    with folder() as scratch:
        other = other_segment(scratch)
        directory = scratch / "w-00000001"
        writer = open_writer(directory)
        calls, places = write_calls(
            writer, [lambda _, plan=plan: copied(writer, other, plan) for plan in plans]
        )
        written = bytes(writer.map[: writer.offset])
        writer.close()
        found = read_all(directory)
        assert len(found) == len(calls)
        assert_nothing_forged(found, calls)
        for _ in range(6):
            at, change = data.draw(flips(places, written))
            flip(segment_files(directory)[0], at, change)
            found = read_all(directory)
            flip(segment_files(directory)[0], at, change)
            assert len(found) == len(calls)
            assert sum(ended.damage is not None for ended in found) <= 1
            assert_nothing_forged(found, calls)


@settings(max_examples=20)
@given(st.data(), st.lists(st.lists(MADE, max_size=4), min_size=1, max_size=4))
def test_frames_made_for_their_very_place_are_a_body_whichever_byte_is_flipped_beside_them(data, plans):
    with folder() as scratch:
        directory = scratch / "w-00000001"
        writer = open_writer(directory)
        calls, places = write_calls(writer, [lambda at, plan=plan: made(writer, plan, at) for plan in plans])
        written = bytes(writer.map[: writer.offset])
        writer.close()
        found = read_all(directory)
        assert len(found) == len(calls)
        assert_nothing_forged(found, calls)
        for _ in range(6):
            at, change = data.draw(flips(places, written))
            flip(segment_files(directory)[0], at, change)
            found = read_all(directory)
            flip(segment_files(directory)[0], at, change)
            assert len(found) == len(calls)
            assert sum(ended.damage is not None for ended in found) <= 1
            assert_nothing_forged(found, calls)


@settings(max_examples=20)
@given(st.data(), st.lists(st.lists(COPIED, max_size=6), min_size=2, max_size=6))
def test_copied_frames_are_a_body_when_a_power_cut_takes_any_pages_around_them(data, plans):
    with folder() as scratch:
        other = other_segment(scratch)
        directory = scratch / "w-00000001"
        writer = open_writer(directory)
        calls, _ = write_calls(writer, [lambda _, plan=plan: copied(writer, other, plan) for plan in plans])
        used = writer.offset
        writer.fail(RuntimeError("the power is gone"))
        writer.close()
        [segment] = segment_files(directory)
        held = bytearray(segment.read_bytes())
        for page in range(-(-used // PAGE)):
            if data.draw(st.booleans()):
                kept = 64 if page == 0 else 0
                held[page * PAGE + kept : (page + 1) * PAGE] = bytes(PAGE - kept)
        segment.write_bytes(held)
        before, recovery.host_boot = recovery.host_boot, lambda: "after the cut"
        try:
            assert try_recover(directory)
        finally:
            recovery.host_boot = before
        assert_nothing_forged(read_all(directory), calls)
