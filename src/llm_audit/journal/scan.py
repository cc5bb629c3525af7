"""Walks the frames of one segment, past whatever is damaged. Pure: it reads a buffer.

Two questions decide everything. *Is this a frame?* (marker, checksum seeded with the offset.) If not: *is it not
yet written, or damaged?* It is damaged if a whole frame follows, or if the segment is done (``final``); in a
segment that still grows it must have looked so twice, for another processor may see stores late.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from llm_audit.journal.frames import (
    FILE_HEADER_SIZE,
    HEADER,
    HEADER_SIZE,
    KINDS,
    MARKER_SIZE,
    MAX_PAYLOAD,
    WHOLE_HEADER,
    Kind,
    is_frame,
)
from llm_audit.journal.openings import SegmentOpening, decode_open
from llm_audit.journal.repair import restore_header

PAGE = 4096
_ZEROS = 64
"""So many at a page's end make it a hole: fewer where the damage begins later."""


class Frame(NamedTuple):
    """A whole frame: its header's fields and where it stands."""

    kind: int
    flags: int
    number: int
    exchange: int
    mono_ns: int
    at: int
    length: int


@dataclass(frozen=True, slots=True)
class Bad:
    """A place where a frame should stand and none can be read."""

    at: int
    end: int
    kind: int | None
    """Kind and exchange as its header says, where that is readable; believe it only where it fits the rest."""
    exchange: int
    tail: bool
    """True if no whole frame follows in this segment."""
    hole: bool
    """True if a page in it ends in zeros: it was not written, or not again, before the power went."""


class SegmentScan:
    """A cursor over one segment's frames."""

    __slots__ = ("_damaged_to", "_data", "_marker", "at", "restored", "suspect", "view")

    def __init__(self, data: mmap.mmap | bytes, marker: bytes) -> None:
        self._data = data
        self._marker = marker
        self.suspect = -1
        self._damaged_to = -1
        self.view = memoryview(data)
        self.at = FILE_HEADER_SIZE
        self.restored: dict[int, bytes] = {}
        """Headers of which one damaged byte was put right, by offset."""

    def step(self, *, final: bool) -> Frame | Bad | None:
        """Give the next frame or bad place; None at the end, or (unless ``final``) for now."""
        at, view = self.at, self.view
        if at + HEADER_SIZE <= len(view):
            marker, kind, flags, _, number, exchange, mono_ns, length, crc = WHOLE_HEADER.unpack_from(
                view, at
            )
            end = at + HEADER_SIZE + length
            if (
                marker == self._marker
                and end <= len(view)
                and crc32(view[at + HEADER_SIZE : end], crc32(view[at : at + HEADER.size], at)) == crc
            ):
                self.at = end
                return Frame(kind, flags, number, exchange, mono_ns, at, length)
        elif not final:
            return None
        return self._no_frame(final=final)

    def header(self, at: int) -> bytes | memoryview:
        """Give the header of a frame that ``step`` gave, put right where need be."""
        return self.restored.get(at) or self.view[at : at + HEADER_SIZE]

    def _no_frame(self, *, final: bool) -> Frame | Bad | None:
        at, view = self.at, self.view
        written = any(view[at : at + HEADER_SIZE])
        if not final and not written:
            return None
        following = self._following(len(view) if final else at + 1 + HEADER_SIZE + MAX_PAYLOAD + MARKER_SIZE)
        if not final and (following is None or (self.suspect != at and at >= self._damaged_to)):
            self.suspect = at if following is not None else -1
            return None
        header = restore_header(view, at, self._marker) if written else None
        if header is not None:
            _, kind, flags, _, number, exchange, mono_ns, length, _ = WHOLE_HEADER.unpack(header)
            self.restored[at] = header
            self.at = at + HEADER_SIZE + length
            return Frame(kind, flags, number, exchange, mono_ns, at, length)
        if following is not None:
            following = self._after_payload() or following
        self._damaged_to = at if following is None else following
        if following is None and not written:
            self.at = len(view)
            return None
        return self._bad(following)

    def _bad(self, following: int | None) -> Bad | None:
        at, view = self.at, self.view
        stop = len(view) if following is None else following
        kind, exchange = None, 0
        if at + HEADER_SIZE <= len(view):
            fields = WHOLE_HEADER.unpack_from(view, at)
            end = at + HEADER_SIZE + fields[7]
            if fields[0] == self._marker and fields[1] in KINDS and fields[7] <= MAX_PAYLOAD:
                kind, exchange = fields[1], fields[5]
                if end < stop and view[end : end + MARKER_SIZE] == self._marker:
                    stop = end  # the next one is bad too, and speaks for itself
        self.at = stop
        return Bad(
            at, stop, kind, exchange, following is None, following is not None and self._hole(at, stop)
        )

    def _hole(self, start: int, stop: int) -> bool:
        """Whether there are zeros up to a page's end: that page never reached the disk, or only its beginning did."""
        for end in range((start // PAGE + 1) * PAGE, stop + 1, PAGE):
            if not any(self.view[max(start, end - _ZEROS) : end]):
                return True
        return False

    def _following(self, limit: int) -> int | None:
        """Find the next whole frame after this place; a copied one never has the right sum."""
        at = self._data.find(self._marker, self.at + 1, limit)
        while at >= 0:
            if is_frame(self.view, at, self._marker):
                return at
            at = self._data.find(self._marker, at + 1, limit)
        return None

    def _after_payload(self) -> int | None:
        """Give where the frame at this place ends by its own header, if a whole frame stands there.

        Then the header is whole and the payload is not; and what is in a payload is a body, however much it looks like
        frames: even such as only somebody could make who knows the marker and the place.
        """
        at = self.at
        if at + HEADER_SIZE > len(self.view):
            return None
        end = at + HEADER_SIZE + int(WHOLE_HEADER.unpack_from(self.view, at)[7])
        return end if is_frame(self.view, end, self._marker) else None

    def release(self) -> None:
        """Let go of the buffer."""
        self.view.release()


def openings(data: mmap.mmap | bytes, marker: bytes) -> Iterator[SegmentOpening | None]:
    """Give what the segment's first frames say: each readable OPEN; None for any other frame. Then stop."""
    scan = SegmentScan(data, marker)
    try:
        while True:
            step = scan.step(final=True)
            if step is None:
                return
            if isinstance(step, Frame):
                if step.kind != Kind.OPEN:
                    yield None
                    return
                start = step.at + HEADER_SIZE
                yield decode_open(scan.view[start : start + step.length])
    finally:
        scan.release()
