"""Counts the calls that get no record of their own, where they survive the process; and makes records of the counts.

Two kinds of calls are only counted: those that ``AUDIT_WHEN_FULL=pass`` let through while the journal could not take
them, and refusals beyond a hundred a second. The counts stand in a small file, preallocated and mapped, so counting
costs no system call, works on a full disk and survives SIGKILL. As soon as there is room (and on recovery) each
becomes a record: an exchange without a request line, whose error says how many calls, numbered through the writer's
whole life by reason, and between which times.

Each count is told exactly once. Before its record is appended, the file says which place in which boot's sequence the
record will have; once the record is durable, or recovery saw that the place was given out, the calls count as told.
Where the place was not given out, they are told again. Only a power cut can lose counts: those since the last sync,
which comes with every other sync of the journal and once a second at least.
"""

from __future__ import annotations

import mmap
import os
import time
import uuid
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from struct import Struct

from llm_audit.journal.frames import encode_start_without_request
from llm_audit.record.schema import ErrorInfo, Outcome

NAME = "counted"
_FORMER_NAME = "unaudited"
"""Of the page in journals before 0.2: one slot, its first four words the same."""

_SLOT, _SLOTS = 1024, 64
SIZE = _SLOT * _SLOTS
_WORDS = _SLOT // 8
_TOTAL, _TOLD, _FIRST, _LAST, _BOOT, _SEQUENCE, _UPTO, _STATUS, _FIRST_BEFORE, _SAMPLES, _TEXT_LENGTH = range(
    11
)
"""Words (u64) of a slot: calls counted, and of how many a record speaks; wall-clock times (ns) of the first that none
speaks of and of the last; the record under way: boot (0: none), sequence, up to which call it speaks, and the first's
time before it; how many samples there are, and how long their text is."""
_CODE_AT, _CODE_LIMIT = 88, 40
_TEXT_AT = 128
_TEXT_LIMIT = _SLOT - _TEXT_AT
_HEAD = Struct("<QQ")
_MOST_SAMPLES = 5
_NAMES = uuid.UUID("6f9a1c1e-6a0f-5d56-9f5b-0b7c1a6d2e54")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why calls are only counted. Codes are fixed words of ours, so there are few."""

    status: int | None
    """What refused callers were told; None for calls that went through."""
    code: str


UNAUDITED = Reason(None, "unaudited")
"""The first slot."""
OTHER = Reason(503, "other_reasons")
"""The last slot, should there ever be more reasons than slots."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Calls of one reason that no record speaks of yet."""

    writer_id: str
    slot: int
    reason: Reason
    first: int
    last: int
    first_wall_ns: int
    last_wall_ns: int
    samples: str

    @property
    def request_id(self) -> bytes:
        """The same for the same calls."""
        kind = f"{self.reason.status} {self.reason.code}/" if self.slot else ""
        return uuid.uuid5(_NAMES, f"{self.writer_id}/{kind}{self.first}-{self.last}").bytes

    @property
    def span_ns(self) -> int:
        """From the first to the last of the calls; 0 where the clock was put back."""
        return max(0, self.last_wall_ns - self.first_wall_ns)

    @property
    def outcome(self) -> Outcome:
        """Of the record."""
        return Outcome.INTERRUPTED if self.reason == UNAUDITED else Outcome.REJECTED

    def start(self, started_mono_ns: int) -> bytes:
        """Give the start of a REQUEST frame that stands for these calls."""
        return encode_start_without_request(self.request_id, self.first_wall_ns, started_mono_ns)

    def error(self) -> ErrorInfo:
        """Say what is missing."""
        count = self.last - self.first + 1
        calls = "1 call" if count == 1 else f"{count:,} calls"
        which = (
            f"(numbers {self.first} to {self.last} of this writer) from "
            f"{_iso(self.first_wall_ns)} to {_iso(self.last_wall_ns)}"
        )
        if self.reason == UNAUDITED:
            said = (
                f"{calls} went through unrecorded {which}: the journal could not take them, and "
                "AUDIT_WHEN_FULL is pass"
            )
        else:
            said = (
                f"{calls} refused with {self.reason.status} {self.reason.code} and not recorded one by one {which}"
                + (f", such as {self.samples}" if self.samples else "")
            )
        return ErrorInfo(self.reason.code, said)


def _iso(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns // 1_000_000_000, UTC).isoformat().replace("+00:00", "Z")


def read_counts(directory: Path) -> tuple[int, int]:
    """Give a writer's calls that went through unrecorded, and of how many a record speaks; (0, 0) without a file."""
    try:
        with (directory / NAME).open("rb") as file:
            page = file.read(_HEAD.size)
    except FileNotFoundError:
        return 0, 0
    if len(page) < _HEAD.size:  # a writer is just making it
        return 0, 0
    total, told = _HEAD.unpack(page)
    return total, told


def read_refusals(directory: Path) -> tuple[int, int]:
    """Give a writer's refusals that got no record of their own, and of how many a record speaks; like ``read_counts``."""
    try:
        file = (directory / NAME).read_bytes()
    except FileNotFoundError:
        return 0, 0
    heads = [_HEAD.unpack_from(file, at) for at in range(_SLOT, len(file) - _HEAD.size + 1, _SLOT)]
    return sum(total for total, _ in heads), sum(told for _, told in heads)


class CountedCalls:
    """The file of one writer's directory. ``count`` is for one thread; each word has one thread that writes it."""

    def __init__(self, directory: Path) -> None:
        """Open it, or make it where there is none. Raises OSError."""
        self.directory = directory
        self.is_dirty = False
        """Whether something was counted since the last sync."""
        path = directory / NAME
        if not path.exists() and (directory / _FORMER_NAME).exists():
            (directory / _FORMER_NAME).rename(path)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._close_fd = weakref.finalize(self, os.close, self._fd)
        os.posix_fallocate(self._fd, 0, SIZE)
        os.fsync(self._fd)
        self._map = mmap.mmap(self._fd, SIZE)
        self._words = memoryview(self._map).cast("Q")
        self._slots = {UNAUDITED: 0}

    def _look_for_slots(self) -> None:
        """Find the slots that this object does not know of: another one (a boot before) may have taken them."""
        while len(self._slots) < _SLOTS and (reason := self._reason(len(self._slots))) is not None:
            self._slots[reason] = len(self._slots)

    def _reason(self, slot: int) -> Reason | None:
        at = slot * _SLOT + _CODE_AT
        code = self._map[at : at + _CODE_LIMIT].rstrip(b"\0").decode("ascii", "replace")
        return Reason(self._words[slot * _WORDS + _STATUS] or None, code) if code else None

    def _slot_of(self, reason: Reason) -> int:
        self._look_for_slots()
        if reason in self._slots:
            return self._slots[reason]
        slot = len(self._slots)
        if slot >= _SLOTS - 1 and reason != OTHER:
            return self._slot_of(OTHER)
        code = reason.code.encode("ascii", "replace")[:_CODE_LIMIT]
        self._words[slot * _WORDS + _STATUS] = reason.status or 0
        at = slot * _SLOT + _CODE_AT
        self._map[at : at + len(code)] = code
        self._slots[reason] = slot
        return slot

    def count(self, reason: Reason, sample: str = "") -> None:
        """Count one call; ``sample`` says who and why, of the first few."""
        slot = self._slots.get(reason)
        if slot is None:
            slot = self._slot_of(reason)
        words, at = self._words, slot * _WORDS
        now = time.time_ns()
        total = words[at + _TOTAL]
        if not words[at + _FIRST] or (not words[at + _BOOT] and total == words[at + _TOLD]):
            words[at + _FIRST] = now
        words[at + _LAST] = now
        if sample and words[at + _SAMPLES] < _MOST_SAMPLES:
            self._add_sample(slot, sample)
        words[at + _TOTAL] = total + 1
        self.is_dirty = True

    def _add_sample(self, slot: int, sample: str) -> None:
        words, at = self._words, slot * _WORDS
        length = words[at + _TEXT_LENGTH]
        text = (b"; " if length else b"") + sample.encode()
        words[at + _SAMPLES] += 1
        if length + len(text) <= _TEXT_LIMIT:
            start = slot * _SLOT + _TEXT_AT + length
            self._map[start : start + len(text)] = text
            words[at + _TEXT_LENGTH] = length + len(text)

    def pending(self) -> list[Counted]:
        """Give the calls that no record speaks of, and none is being made of."""
        self._look_for_slots()
        words = self._words
        found = []
        for reason, slot in list(self._slots.items()):
            at = slot * _WORDS
            total, told, first, last = (words[at + word] for word in (_TOTAL, _TOLD, _FIRST, _LAST))
            if words[at + _BOOT] or total <= told:
                continue
            start = slot * _SLOT + _TEXT_AT
            text = self._map[start : start + min(words[at + _TEXT_LENGTH], _TEXT_LIMIT)]
            samples = text.decode("utf-8", "replace")
            found.append(
                Counted(self.directory.name, slot, reason, told + 1, total, first or last, last, samples)
            )
        return found

    def will_be_told(self, counted: Counted, boot: int, sequence: int) -> None:
        """Take note that the record with this sequence is about to speak of these calls."""
        words, at = self._words, counted.slot * _WORDS
        words[at + _SEQUENCE] = sequence
        words[at + _UPTO] = counted.last
        words[at + _FIRST_BEFORE] = counted.first_wall_ns
        words[at + _BOOT] = boot
        words[at + _FIRST] = words[at + _SAMPLES] = words[at + _TEXT_LENGTH] = 0
        self.is_dirty = True

    def settle(self, boot: int, next_sequence: int) -> None:
        """Take note that this boot's sequences below ``next_sequence`` were given out, durably, and no others."""
        for at in range(0, _SLOTS * _WORDS, _WORDS):
            if self._words[at + _BOOT] == boot:
                self._settle(at, was_told=self._words[at + _SEQUENCE] < next_sequence)

    def settle_closed_boots(self) -> None:
        """Take note that every boot so far is closed: whatever was to be told was."""
        for at in range(0, _SLOTS * _WORDS, _WORDS):
            if self._words[at + _BOOT]:
                self._settle(at, was_told=True)

    def _settle(self, at: int, *, was_told: bool) -> None:
        words = self._words
        if was_told:
            words[at + _TOLD] = words[at + _UPTO]
        else:
            words[at + _FIRST] = words[at + _FIRST_BEFORE]
        words[at + _BOOT] = 0
        self.is_dirty = True

    def sync(self, sync: Callable[[int], None] = os.fdatasync) -> None:
        """Make it durable, if there is anything new. Raises OSError."""
        if self.is_dirty:
            self.is_dirty = False
            sync(self._fd)

    def close(self) -> None:
        """Unmap it; the file stays."""
        self._words.release()
        self._map.close()
        self._close_fd()
