"""Keeps the records of refused calls to a twentieth of the journal, so that they never crowd out good ones."""

from __future__ import annotations

from pathlib import Path

from llm_audit.journal.files import SegmentName

_SHARE = 20


class RefusalShare:
    """Counts their bytes by segment; a segment that the shipper has freed counts no more."""

    def __init__(self, directory: Path, boot: int, limit_bytes: int) -> None:
        self._directory = directory
        self._boot = boot
        self._allowed = limit_bytes // _SHARE
        self._taken: dict[int, int] = {}

    def fits(self, wanted: int) -> bool:
        """Whether so many bytes more are within the share."""
        if self._sum() + wanted > self._allowed:
            for number in list(self._taken):
                if not (self._directory / str(SegmentName(self._boot, number))).exists():
                    del self._taken[number]
        return self._sum() + wanted <= self._allowed

    def take(self, segment: int, wanted: int) -> None:
        """Count bytes that go into this segment."""
        self._taken[segment] = self._taken.get(segment, 0) + wanted

    def _sum(self) -> int:
        return sum(self._taken.values())
