"""Puts the frames of one boot together into exchanges, in order of sequence. Pure.

The rules, in one place:

- Frames of an exchange are numbered without a gap and its END frame states their count; anything else is damage.
- END frames stand in order of sequence. A jump says that END frames are lost: they belong to the exchanges whose
  END frames could be seen but not read, else to those that recovery names (``late``), else to nobody we know.
- A frame that cannot be read proves nothing by itself: the numbers of the others decide what is missing. So what
  a header says that could not be checked is only ever used to explain a gap that exists without it.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from llm_audit.journal.frames import (
    MORE,
    EndFrame,
    Kind,
)
from llm_audit.journal.model import End, Opening
from llm_audit.journal.openings import SegmentOpening
from llm_audit.journal.scan import Bad, Frame
from llm_audit.record.schema import ErrorInfo, Outcome

SEGMENT_SHIFT = 32
_RESPONSE, _RESPONSE_BODY = int(Kind.RESPONSE), int(Kind.RESPONSE_BODY)
_OF_RESPONSE = frozenset((_RESPONSE, _RESPONSE_BODY))
CONTINUES = 1 << 63
"""In a reference to a chunk: this frame continues the piece before it."""


class Gathered:
    """What is known of an exchange: where its frames stand, not what is in them (8 bytes a frame)."""

    __slots__ = (
        "bad", "chunks", "empty", "exchange", "gap", "last_mono_ns", "last_ref", "next_number", "request",
        "response", "segments", "split", "whole",
    )  # fmt: skip

    def __init__(self, exchange: int) -> None:
        self.exchange = exchange
        self.next_number = 0
        self.request: array[int] = array("Q")
        """References (segment << 32 | offset) to REQUEST and REQUEST_BODY frames."""
        self.response: int | None = None
        self.chunks: array[int] = array("Q")
        """References to the frames with pieces of the response's body."""
        self.empty: array[int] = array("Q")
        """References to RESPONSE_BODY frames without a byte: they only say that the body is over."""
        self.split = False
        """True while the next piece continues the last one."""
        self.segments: list[int] = []
        self.bad: list[tuple[int, int]] = []
        """Reference and length of places whose unreadable frames name this exchange."""
        self.gap: str | None = None
        self.whole: tuple[int, int, bool, int, int] | None = None
        """At the first gap: how many references stood in each list, the last time, the next number."""
        self.last_mono_ns = 0
        self.last_ref = 0

    def add(self, frame: Frame, segment: int, body_bytes: int) -> None:
        """Take a frame; ``body_bytes`` is the length of its piece of a body."""
        if frame.number != self.next_number:
            self.note_gap(f"frames {self.next_number} to {frame.number - 1} are missing")
        self.next_number = frame.number + 1
        ref = segment << SEGMENT_SHIFT | frame.at
        self.last_ref, self.last_mono_ns = ref, frame.mono_ns
        if not self.segments or self.segments[-1] != segment:
            self.segments.append(segment)
        kind = frame.kind
        if kind in _OF_RESPONSE:
            if kind == _RESPONSE:
                self.response = ref
            if body_bytes:
                self.chunks.append(ref | CONTINUES if self.split else ref)
            elif kind == _RESPONSE_BODY:
                self.empty.append(ref)
            self.split = bool(frame.flags & MORE)
        else:
            self.request.append(ref)

    def references(self) -> set[int]:
        """Give the references to all its readable frames."""
        refs = {ref & ~CONTINUES for ref in self.chunks}
        refs.update(self.request, self.empty)
        if self.response is not None:
            refs.add(self.response)
        return refs

    def note_gap(self, reason: str) -> None:
        """Remember what is missing, and how much was whole before it."""
        if self.gap is None:
            self.gap = reason
            self.whole = (len(self.request), len(self.chunks), self.response is not None, self.last_mono_ns,
                          self.next_number)  # fmt: skip

    def keep_prefix(self) -> None:
        """Forget everything from the first gap on."""
        if self.whole is not None:
            requests, chunks, has_response, self.last_mono_ns, self.next_number = self.whole
            del self.request[requests:], self.chunks[chunks:]
            self.response = self.response if has_response else None
            self.gap = self.whole = None


class Ended(NamedTuple):
    """An exchange that is over, still as references."""

    sequence: int
    gathered: Gathered | None
    end: EndFrame | None
    damage: str | None
    segment: int
    """Where its END frame stands, or where its lack was seen."""


def _up_to_the_hole(gathered: Gathered, end: EndFrame) -> EndFrame:
    """End an exchange before its first missing frame, as recovery ends open ones: its END outlived what was before it."""
    if gathered.next_number != end.count - 1:
        gathered.note_gap(f"frames {gathered.next_number} to {end.count - 2} are missing")
    if gathered.gap is None or gathered.whole is None or not gathered.whole[0]:
        return end
    error = power_lost(gathered.gap)
    gathered.keep_prefix()
    status = None if gathered.response is None else end.end.status_code
    over = End(end.end.sequence, Outcome.INTERRUPTED, status, None, gathered.last_mono_ns, error)
    return EndFrame(over, gathered.next_number + 1, end.request_id, end.late, prefix=True)


def power_lost(missing: str) -> ErrorInfo:
    """Say why an exchange ends where it does."""
    return ErrorInfo("interrupted", f"the host lost power before this call ended; after that {missing}")


@dataclass(slots=True)
class LateEnd:
    """An END frame that recovery wrote for a sequence in the middle of the boot."""

    exchange: int
    end: EndFrame


@dataclass(slots=True)
class Assembly:
    """One boot, as far as it was read."""

    boot: int
    late: Mapping[int, LateEnd] = field(default_factory=dict)
    opening: Opening | None = None
    expected: int = 0
    """The next sequence."""
    begun: int = 0
    """The highest exchange number seen: numbers are given out one by one."""
    open: dict[int, Gathered] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    lost: list[tuple[int, int]] = field(default_factory=list)
    """Sequences without an exchange, each with the reference of the frame that showed it."""
    holes: bool = False
    power_lost: bool = False
    """Recovery saw holes in this boot: what is missing behind one was never acknowledged (host durability)."""
    troubled: bool = False
    """True where anything but a torn tail could not be read, or is missing."""
    closed: bool = False
    unread_ends: list[int] = field(default_factory=list)
    segment: int = -1

    def begin_segment(self, number: int, opening: SegmentOpening | None) -> None:
        """Go on with this segment; ``opening`` is None where no OPEN frame of it can be read."""
        contiguous = number == self.segment + 1 or self.segment == -1
        first = self.segment == -1
        self.segment = number
        if opening is None:
            return
        self.opening = opening.opening
        if first or not contiguous:
            # Files before it were stored and deleted, END frames included.
            self.expected = max(self.expected, opening.first_sequence)
            self.unread_ends.clear()
        else:
            self._jump(opening.first_sequence, number << SEGMENT_SHIFT)
        if opening.next_sequence is not None:
            self.expected = max(self.expected, opening.next_sequence)

    def frame(self, frame: Frame, body_bytes: int) -> None:
        """Take a frame of an exchange that is not its END."""
        gathered = self.open.get(frame.exchange)
        if gathered is None:
            gathered = self.open[frame.exchange] = Gathered(frame.exchange)
            self.begun = max(self.begun, frame.exchange)
        gathered.add(frame, self.segment, body_bytes)

    def end(self, frame: Frame, end: EndFrame) -> None:
        """Take an END frame."""
        sequence = end.end.sequence
        gathered = self.open.pop(frame.exchange, None)
        if sequence < self.expected:
            return  # late, and its stub is out already
        self._jump(sequence, self.segment << SEGMENT_SHIFT | frame.at)
        self.unread_ends.clear()
        self.expected = sequence + 1
        self._emit(sequence, gathered, end, frame.number)

    def close(self, frame: Frame, next_sequence: int) -> None:
        """Take the CLOSE frame: nothing follows in this boot."""
        self._jump(next_sequence, self.segment << SEGMENT_SHIFT | frame.at)
        self.closed = True
        self.open.clear()

    def bad(self, bad: Bad, *, torn: bool) -> None:
        """Take a place that cannot be read; ``torn``: the writer died here, so it may never have been whole."""
        self.holes |= bad.hole
        self.troubled |= not torn
        if bad.kind is None:
            return
        gathered = self.open.get(bad.exchange)
        if gathered is None and not torn and bad.kind == Kind.REQUEST and bad.exchange == self.begun + 1:
            self.begun = bad.exchange
            gathered = self.open[bad.exchange] = Gathered(bad.exchange)
        if gathered is None:
            return
        gathered.bad.append((self.segment << SEGMENT_SHIFT | bad.at, bad.end - bad.at))
        if bad.kind == Kind.END:
            self.unread_ends.append(bad.exchange)

    def open_segments(self) -> set[int]:
        """Give the segments that hold frames of exchanges still open."""
        return {segment for gathered in self.open.values() for segment in gathered.segments}

    def finish(self) -> None:
        """End the boot without a CLOSE frame: a later boot exists, so nothing more will come."""
        while self.open:
            exchange = self.unread_ends.pop(0) if self.unread_ends else next(iter(self.open))
            gathered = self.open.pop(exchange, None)
            if gathered is not None:
                self._damaged(gathered, "its END frame is missing")
                self.expected += 1
        self.closed = True

    def _jump(self, to: int, ref: int) -> None:
        while self.expected < to:
            self.troubled = True
            late = self.late.get(self.expected)
            if self.unread_ends:
                self._damaged(self.open.pop(self.unread_ends.pop(0), None), "its END frame is damaged")
            elif late is not None:
                self._emit(self.expected, self.open.pop(late.exchange, None), late.end, late.end.count - 1)
            else:
                self.lost.append((self.expected, ref))
                self._damaged(None, "none of its frames can be told")
            self.expected += 1

    def _damaged(self, gathered: Gathered | None, reason: str) -> None:
        self.ended.append(Ended(self.expected, gathered, None, reason, self.segment))

    def _emit(self, sequence: int, gathered: Gathered | None, end: EndFrame, number: int) -> None:
        if gathered is not None and end.prefix:
            gathered.keep_prefix()
        elif gathered is not None and self.power_lost:
            end = _up_to_the_hole(gathered, end)
            number = end.count - 1
        damage = None
        if gathered is None:
            damage = "all frames but its END frame are missing"
        elif gathered.gap is not None:
            damage = gathered.gap
        elif not gathered.request:
            damage = "its REQUEST frame is missing"
        elif number != gathered.next_number or end.count != number + 1:
            damage = f"it has {gathered.next_number + 1} frames, and its END frame says {end.count}"
        self.ended.append(Ended(sequence, gathered, end, damage, self.segment))
