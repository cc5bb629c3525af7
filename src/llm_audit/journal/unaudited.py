"""Counts the calls that ``AUDIT_WHEN_FULL=pass`` let through unrecorded, where no frame can be written.

The count is one page, preallocated and mapped, so counting works on a full disk and survives SIGKILL. As soon as
there is room, and on recovery, the count becomes a record of its own: an exchange without a request line, whose
error says how many calls, numbered through the writer's whole life, and between which times. The same calls
reported twice (a crash between record and mark) carry the same numbers and the same request id.
"""

from __future__ import annotations

import mmap
import os
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from struct import Struct

from llm_audit.journal.frames import encode_start_without_request
from llm_audit.record.schema import ErrorInfo

_PAGE = Struct("<QQQQ")
"""Calls counted, calls reported; wall-clock times (ns) of the first and the last that is not reported."""
_NAMES = uuid.UUID("6f9a1c1e-6a0f-5d56-9f5b-0b7c1a6d2e54")


@dataclass(frozen=True, slots=True)
class Gap:
    """Calls that are not in the journal."""

    writer_id: str
    first: int
    last: int
    first_wall_ns: int
    last_wall_ns: int

    @property
    def request_id(self) -> bytes:
        """The same for the same calls."""
        return uuid.uuid5(_NAMES, f"{self.writer_id}/{self.first}-{self.last}").bytes

    @property
    def span_ns(self) -> int:
        """From the first to the last of the calls; 0 where the clock was put back."""
        return max(0, self.last_wall_ns - self.first_wall_ns)

    def start(self, started_mono_ns: int) -> bytes:
        """Give the start of a REQUEST frame that stands for these calls."""
        return encode_start_without_request(self.request_id, self.first_wall_ns, started_mono_ns)

    def error(self) -> ErrorInfo:
        """Say what is missing."""
        count = self.last - self.first + 1
        return ErrorInfo(
            "unaudited",
            f"{count} calls went through unrecorded (numbers {self.first} to {self.last} of this writer) from "
            f"{_iso(self.first_wall_ns)} to {_iso(self.last_wall_ns)}: the journal could not take them, and "
            "AUDIT_WHEN_FULL is pass",
        )


def _iso(wall_ns: int) -> str:
    return datetime.fromtimestamp(wall_ns // 1_000_000_000, UTC).isoformat().replace("+00:00", "Z")


def read_counts(directory: Path) -> tuple[int, int]:
    """Give a writer's calls that went through unrecorded, and of how many a record speaks; (0, 0) without a page."""
    try:
        with (directory / "unaudited").open("rb") as file:
            page = file.read(_PAGE.size)
    except FileNotFoundError:
        return 0, 0
    if len(page) < _PAGE.size:  # a writer is just making it
        return 0, 0
    total, reported, _, _ = _PAGE.unpack(page)
    return total, reported


class UnauditedCount:
    """The page of one writer's directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        fd = os.open(directory / "unaudited", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, mmap.PAGESIZE)
            os.fsync(fd)
            self._map = mmap.mmap(fd, mmap.PAGESIZE)
        finally:
            os.close(fd)

    def count(self) -> None:
        """Count one call that goes through unrecorded."""
        total, reported, first, _ = _PAGE.unpack_from(self._map)
        now = time.time_ns()
        _PAGE.pack_into(self._map, 0, total + 1, reported, now if total == reported else first, now)

    def pending(self) -> Gap | None:
        """Give the calls that no record speaks of yet."""
        total, reported, first, last = _PAGE.unpack_from(self._map)
        return None if total <= reported else Gap(self.directory.name, reported + 1, total, first, last)

    def mark_reported(self, gap: Gap) -> None:
        """Take note that a record speaks of these calls."""
        total, _, first, last = _PAGE.unpack_from(self._map)
        _PAGE.pack_into(self._map, 0, total, gap.last, first, last)
        self._map.flush()

    def close(self) -> None:
        """Unmap it; the page stays."""
        self._map.close()
