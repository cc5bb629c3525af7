"""Reads one boot's segments, in order, into exchanges: what reader and recovery share."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from llm_audit.journal.assemble import Assembly, Ended, LateEnd
from llm_audit.journal.files import SegmentName, segment_names
from llm_audit.journal.frames import (
    FILE_HEADER_SIZE,
    HEADER_SIZE,
    UNDECODABLE,
    WHOLE_HEADER,
    Kind,
    decode_end,
    decode_file_header,
    start_length,
)
from llm_audit.journal.model import Opening, RecordSettings
from llm_audit.journal.openings import SegmentOpening, decode_close
from llm_audit.journal.scan import Bad, Frame, SegmentScan, openings

_BODIES = frozenset((int(Kind.REQUEST_BODY), int(Kind.RESPONSE_BODY)))
_STARTS = frozenset((int(Kind.REQUEST), int(Kind.RESPONSE)))
_END = int(Kind.END)
_OPENING_WINDOW = 64 * 1024
"""Bytes at a segment's start in which its OPEN frames stand."""


class MappedSegment:
    """A segment, mapped for reading. Its length never changes while it exists."""

    __slots__ = ("_map", "carried", "fd", "marker", "name", "scan", "size", "synced_to")

    def __init__(self, path: Path, name: SegmentName) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.size = os.fstat(self.fd).st_size
            self._map = mmap.mmap(self.fd, self.size, access=mmap.ACCESS_READ)
        except BaseException:
            os.close(self.fd)
            raise
        self.name = name
        self.marker = decode_file_header(self._map[:FILE_HEADER_SIZE], str(path)) or b""
        self.scan = SegmentScan(self._map, self.marker)
        if not self.marker:
            self.scan.at = self.size  # its header is lost: whatever is in it cannot be told from bodies
        self.synced_to = FILE_HEADER_SIZE
        self.carried = -1
        """In a carry-over that this process wrote: how many frames it holds."""

    def opening(self) -> SegmentOpening | None:
        """Read its OPEN frame, if one of the two can be read."""
        if not self.marker:
            return None
        return next(openings(self._map[:_OPENING_WINDOW], self.marker), None)

    def raw(self, at: int, length: int = 0) -> bytes:
        """Give ``length`` bytes as they lie here; without a length, those of the frame at ``at``."""
        if not length:
            length = HEADER_SIZE + int(WHOLE_HEADER.unpack(self.scan.header(at))[7])
        return bytes(self.scan.view[at : at + length])

    def forget_pages(self) -> None:
        """Let the kernel take the pages out of our resident set; they stay readable."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Unmap it."""
        self.scan.release()
        self._map.close()
        os.close(self.fd)


def started(path: Path) -> bool:
    """Whether a frame stands in this segment: prepared ones wait with their header only."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        data = os.pread(fd, FILE_HEADER_SIZE + HEADER_SIZE, 0)
        if not any(data[FILE_HEADER_SIZE:]):
            return False  # the reader's idle path: it asks this of the prepared segment again and again
        data = os.pread(fd, _OPENING_WINDOW, 0)
    finally:
        os.close(fd)
    marker = decode_file_header(data, str(path))
    return marker is not None and next(openings(data, marker), False) is not False


class BootReader:
    """A cursor over one boot's frames, from segment ``first`` on. ``segments`` stay mapped until ``drop``."""

    def __init__(self, directory: Path, boot: int, *, first: int = 0) -> None:
        self.directory = directory
        self.boot = boot
        self._first = first
        self.segments: dict[int, MappedSegment] = {}
        self.assembly = Assembly(boot)
        self.current: MappedSegment | None = None
        self.done: set[int] = set()
        """Segments read to their end."""
        self._sequences: dict[int, tuple[int, int]] = {}
        self.frames_end = FILE_HEADER_SIZE
        """Where the last whole frame that was read ends, in its segment."""
        self._looked_for_late = False

    @property
    def opening(self) -> Opening:
        """The boot's opening; a stand-in where no OPEN frame of the whole boot can be read."""
        known = self.assembly.opening
        return known or Opening(self.directory.name, self.boot, RecordSettings(), 0)

    def advance(self, limit: int, *, over: bool) -> list[Ended]:
        """Read until ``limit`` exchanges have ended or nothing more is there.

        ``over``: no living writer appends to this boot, so what cannot be read at its end is not still coming.
        """
        ended = self.assembly.ended
        while len(ended) < limit and not self.assembly.closed:
            if self.current is None and not self._enter_next(over=over):
                break
            if self._read(limit, final=False):
                continue
            # Seen before the last look for frames, so that no frame is missed between the two.
            following = self._following(over=over)
            if (following is not None or self.current_looks_damaged()) and self._read(limit, final=False):
                continue
            if following is None and not over:
                break
            torn = following is None or self._is_recovery(following)
            if self._read(limit, final=True, torn=torn):
                continue
            self._leave()
            if following is None:
                break
        if self.assembly.closed and self.current is not None:
            self._leave()
        taken = ended[:limit]
        del ended[:limit]
        return taken

    def current_looks_damaged(self) -> bool:
        """Whether a frame follows a place that was no frame at the first look; the second look decides."""
        return self.current is not None and self.current.scan.suspect >= 0

    def _read(self, limit: int, *, final: bool, torn: bool = False) -> bool:
        """Take frames until ``limit`` exchanges are ready (True) or no more stand here (False)."""
        assembly, segment = self.assembly, self.current
        assert segment is not None
        step_on = segment.scan.step
        while (step := step_on(final=final)) is not None:
            if isinstance(step, Bad):
                assembly.bad(step, torn=torn and step.tail)
            else:
                self._take(segment, step)
                if len(assembly.ended) >= limit or assembly.closed:
                    return True
        return False

    def _leave(self) -> None:
        segment = self.current
        assert segment is not None
        number = segment.name.number
        self.done.add(number)
        self._sequences[number] = self._sequences[number][0], self.assembly.expected
        segment.forget_pages()
        self.current = None

    def _take(self, segment: MappedSegment, frame: Frame) -> None:
        assembly, kind = self.assembly, frame.kind
        start = frame.at + HEADER_SIZE
        self.frames_end = start + frame.length
        if kind in _BODIES:
            assembly.frame(frame, frame.length)
            return
        payload = segment.scan.view[start : start + frame.length]
        try:
            if kind in _STARTS:
                body_bytes = max(0, frame.length - start_length(kind, payload))
            elif kind == _END:
                end = decode_end(payload, frame.mono_ns)
            elif kind == Kind.CLOSE:
                following = decode_close(payload)
        except UNDECODABLE:
            bad = Bad(frame.at, self.frames_end, kind, frame.exchange, tail=False, hole=False)
            assembly.bad(bad, torn=False)
            return
        if kind in _STARTS:
            assembly.frame(frame, body_bytes)
        elif kind == _END:
            assembly.end(frame, end)
        elif kind == Kind.CLOSE:
            assembly.close(frame, following)

    def _names(self) -> list[SegmentName]:
        names = segment_names(self.directory)
        return [name for name in names if name.boot == self.boot and name.number >= self._first]

    def _following(self, *, over: bool) -> SegmentName | None:
        """Give the next segment of the boot in which something stands."""
        last = self.assembly.segment
        names = [name for name in self._names() if name.number > last]
        for name in names:
            if over or name is not names[-1] or started(self.directory / str(name)):
                return name
        return None

    def _is_recovery(self, name: SegmentName) -> bool:
        segment = self._map(name)
        opening = None if segment is None else segment.opening()
        return opening is not None and opening.recovered

    def _map(self, name: SegmentName) -> MappedSegment | None:
        if name.number not in self.segments:
            try:
                self.segments[name.number] = MappedSegment(self.directory / str(name), name)
            except (FileNotFoundError, ValueError):  # removed before it was begun; or empty, half made
                return None
        return self.segments[name.number]

    def _enter_next(self, *, over: bool) -> bool:
        if not self._looked_for_late:
            self._looked_for_late = True
            self.assembly.late = self._late_ends()
        name = self._following(over=over)
        segment = None if name is None else self._map(name)
        if segment is None:
            return False
        self.assembly.begin_segment(segment.name.number, segment.opening())
        self._sequences[segment.name.number] = self.assembly.expected, self.assembly.expected
        self.frames_end = FILE_HEADER_SIZE
        self.current = segment
        return True

    def _late_ends(self) -> dict[int, LateEnd]:
        """Look into the segment that recovery wrote, if it did, for sequences that stand in the middle."""
        names = self._names()
        late: dict[int, LateEnd] = {}
        if not names or not started(self.directory / str(names[-1])) or not self._is_recovery(names[-1]):
            return late
        recovered = self.segments[names[-1].number]
        opening = recovered.opening()
        self.assembly.power_lost = opening is not None and opening.power_lost
        scan = recovered.scan
        start = scan.at
        while (step := scan.step(final=True)) is not None:
            if isinstance(step, Frame) and step.kind == Kind.END:
                at = step.at + HEADER_SIZE
                end = decode_end(scan.view[at : at + step.length], step.mono_ns)
                if end.late:
                    late[end.end.sequence] = LateEnd(step.exchange, end)
        scan.at = start
        return late

    def carry_opening(self, number: int) -> SegmentOpening:
        """Give the OPEN frame of the carry-over of a segment that was read to its end."""
        first, following = self._sequences[number]
        return SegmentOpening(self.opening, first, following)

    def drop(self, number: int) -> None:
        """Unmap a segment whose file is gone."""
        segment = self.segments.pop(number, None)
        if segment is not None:
            segment.close()

    def close(self) -> None:
        """Unmap everything."""
        for number in list(self.segments):
            self.drop(number)
