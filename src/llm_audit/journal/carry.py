"""Carry-over: what is still open in a segment moves into a small file, and the segment goes (invariant 7).

The carry-over holds the open exchanges' frames of one segment (kinds, numbers and times unchanged, checksums made
anew for the new marker and places), and takes the segment's place in the order of reading: ``N.carry`` hides ``N.seg``.
It is written beside, synced and named in one step before the segment is deleted. So a process that dies in
between leaves both, the reader looks at the carry-over only, and the next one deletes what is hidden.
"""

from __future__ import annotations

import os
import secrets
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

from llm_audit.journal import crash
from llm_audit.journal.assemble import CONTINUES, SEGMENT_SHIFT, Gathered
from llm_audit.journal.boot import BootReader, MappedSegment
from llm_audit.journal.files import SegmentName, sync_directory
from llm_audit.journal.frames import (
    HEADER_SIZE,
    MARKER_SIZE,
    WHOLE_HEADER,
    Kind,
    encode_file_header,
    frame,
)
from llm_audit.journal.openings import encode_open

_FILE_MODE = 0o600


@dataclass(slots=True)
class Freed:
    """What ``collect`` did."""

    segments: int = 0
    carried: int = 0
    bytes: int = 0
    """Bytes of disk that are free now, less those of carry-overs."""


def carry_over(boot: BootReader, number: int, freed: Freed, *, pinned: bool) -> None:
    """Free one segment whose ended exchanges are all stored; where open ones pin it, carry them over first."""
    segment = boot.segments[number]
    places = _places(boot, number) if pinned else []
    if pinned and len(places) == segment.carried:
        return  # a carry-over whose exchanges are all still open
    freed.bytes += _blocks(segment.fd)
    replacement = _write(boot, segment, places) if pinned else None
    original = boot.directory / str(SegmentName(boot.boot, number))
    # First what a carry-over hides (a process may have died before deleting it): it must not come to light.
    crash.point("before-delete")
    original.unlink(missing_ok=True)
    sync_directory(boot.directory)
    crash.point("segment-deleted")
    if segment.name.carry and not pinned:
        (boot.directory / str(segment.name)).unlink(missing_ok=True)
        sync_directory(boot.directory)
    boot.drop(number)
    if replacement is None:
        freed.segments += 1
        boot.done.discard(number)
    else:
        freed.carried += 1
        freed.bytes -= _blocks(replacement.fd)
        boot.segments[number] = replacement


def _blocks(fd: int) -> int:
    return os.fstat(fd).st_blocks * 512


def _places(boot: BootReader, number: int) -> list[int]:
    """Give the offsets of the open exchanges' frames in this segment."""
    low = (1 << SEGMENT_SHIFT) - 1
    return sorted(ref & low for held in boot.assembly.open.values() for ref in _within(held, number))


def _write(boot: BootReader, segment: MappedSegment, places: list[int]) -> MappedSegment:
    """Write the carry-over, durably, and point the open exchanges' references into it."""
    number = segment.name.number
    name = SegmentName(boot.boot, number, carry=True)
    path = boot.directory / str(name)
    moves = _compact(boot, segment, places, path.with_name(path.name + ".tmp"))
    crash.point("carry-written")
    path.with_name(path.name + ".tmp").replace(path)
    crash.point("carry-named")
    sync_directory(boot.directory)
    for gathered in boot.assembly.open.values():
        _move(gathered, number, moves)
    replacement = MappedSegment(path, name)
    replacement.scan.at = replacement.size
    replacement.synced_to = replacement.size
    replacement.carried = len(places)
    return replacement


def _compact(boot: BootReader, segment: MappedSegment, places: list[int], path: Path) -> dict[int, int]:
    """Write the open exchanges' frames of this segment, in their order; gives old offset → new offset."""
    marker = secrets.token_bytes(MARKER_SIZE)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _FILE_MODE)
    moves: dict[int, int] = {}
    with os.fdopen(fd, "wb") as file:
        file.write(encode_file_header(marker))
        opening = encode_open(boot.carry_opening(segment.name.number))
        file.write(frame(marker, Kind.OPEN, opening, at=file.tell()))
        file.write(frame(marker, Kind.OPEN, opening, at=file.tell()))
        for place in places:
            _, kind, flags, _, index, exchange, mono_ns, length, _ = WHOLE_HEADER.unpack(
                segment.scan.header(place)
            )
            moves[place] = file.tell()
            payload = bytes(segment.scan.view[place + HEADER_SIZE : place + HEADER_SIZE + length])
            file.write(
                frame(marker, kind, payload, at=moves[place], number=index, exchange=exchange, mono_ns=mono_ns,
                      flags=flags)
            )  # fmt: skip
        file.flush()
        os.fsync(fd)
    return moves


def _within(gathered: Gathered, number: int) -> set[int]:
    """Give the references that point into this segment. They rise, so two cuts find them."""
    refs: set[int] = set()
    for held in (gathered.request, gathered.chunks, gathered.empty):
        first, last = _range(held, number)
        refs.update(ref & ~CONTINUES for ref in held[first:last])
    if gathered.response is not None and gathered.response >> SEGMENT_SHIFT == number:
        refs.add(gathered.response)
    return refs


def _range(refs: array[int], number: int) -> tuple[int, int]:
    def place(ref: int) -> int:
        return (ref & ~CONTINUES) >> SEGMENT_SHIFT

    return bisect_left(refs, number, key=place), bisect_left(refs, number + 1, key=place)


def _move(gathered: Gathered, number: int, moves: dict[int, int]) -> None:
    low = (1 << SEGMENT_SHIFT) - 1
    base = number << SEGMENT_SHIFT
    for held in (gathered.request, gathered.chunks, gathered.empty):
        first, last = _range(held, number)
        for at in range(first, last):
            held[at] = (held[at] & CONTINUES) | base | moves[held[at] & low]
    if gathered.response is not None and gathered.response >> SEGMENT_SHIFT == number:
        gathered.response = base | moves[gathered.response & low]
