"""Calls that passed without a record, counted where a full disk cannot stop the counting.

``AUDIT_WHEN_FULL=pass`` lets calls through that the journal cannot take. Each is counted in one preallocated,
mapped page beside the writer's segments: a store needs no room and survives the process. Once the journal takes
frames again, by this process or by the next, the count becomes a record ("gap"), durably, and only then is it
taken off the page: a crash in between records a gap twice rather than never.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path
from struct import Struct
from typing import NamedTuple

_PAGE = 4096
_COUNTS = Struct("<QQQ")


class Unaudited(NamedTuple):
    """So many calls, and when the first and the last of them came, in milliseconds since the epoch."""

    calls: int
    first_wall_ms: int
    last_wall_ms: int


class UnauditedCounter:
    """The page of one writer's directory. Raises OSError where it cannot be made."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / "unaudited", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _PAGE)
            self._map = mmap.mmap(descriptor, _PAGE)
        finally:
            os.close(descriptor)

    def count(self) -> None:
        """Count one call."""
        calls, first, _ = self.read()
        now = time.time_ns() // 1_000_000
        self._map[: _COUNTS.size] = _COUNTS.pack(calls + 1, first or now, now)

    def read(self) -> Unaudited:
        """Give what is counted and not yet recorded."""
        return Unaudited(*_COUNTS.unpack_from(self._map))

    def recorded(self, taken: Unaudited) -> None:
        """Take off the page what has become a record."""
        calls, _, last = self.read()
        left = calls - taken.calls
        self._map[: _COUNTS.size] = _COUNTS.pack(left, taken.last_wall_ms if left else 0, last if left else 0)

    def close(self) -> None:
        """Give the page back; the count stays in it."""
        self._map.close()
