"""Ranges of whole UTC days: objects are filed by day, and their names say no more. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from llm_audit.record.times import iso_from_ms, ms_from_iso

DAY_MS = 86_400_000
_MOST_FOLDERS = 400
"""So many days are listed one by one; a longer range is listed as a whole and sifted."""
_DAY_FOLDER = re.compile(r"\d{4}/\d\d/\d\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class Days:
    """From the first to the last day, as days since the epoch; None is open."""

    first: int | None = None
    last: int | None = None

    @property
    def since(self) -> str | None:
        """The first day's beginning, as records write times."""
        return None if self.first is None else iso_from_ms(self.first * DAY_MS)

    @property
    def until(self) -> str | None:
        """The end of the last day, exclusive."""
        return None if self.last is None else iso_from_ms((self.last + 1) * DAY_MS)

    def reach(self, now_ms: int) -> bool:
        """Tell whether the range goes on till now (milliseconds since the epoch), or beyond."""
        return self.last is None or self.last >= now_ms // DAY_MS

    def neighbours(self) -> tuple[Days, ...]:
        """Give the days just before and just after the range, where it has an end there."""
        before = () if self.first is None else (Days(self.first - 1, self.first - 1),)
        after = () if self.last is None else (Days(self.last + 1, self.last + 1),)
        return before + after

    def holds(self, folder: str) -> bool:
        """Tell whether the day folder ``YYYY/MM/DD`` lies in the range."""
        day = folder.replace("/", "-")
        return (self.since is None or day >= self.since[:10]) and (
            self.until is None or day < self.until[:10]
        )

    def folders(self) -> Iterator[str] | None:
        """Give the day folders in order, or None where it takes fewer requests to list everything."""
        if self.first is None or self.last is None or self.last - self.first > _MOST_FOLDERS:
            return None
        return (iso_from_ms(day * DAY_MS)[:10].replace("-", "/") for day in range(self.first, self.last + 1))

    def words(self) -> str:
        """Say which days these are."""
        begin = "the beginning" if self.since is None else self.since[:10]
        end = "now" if self.last is None else iso_from_ms(self.last * DAY_MS)[:10]
        return f"{begin} to {end}, whole days (UTC)"


def whole_days(since: str | None, until: str | None, now_ms: int) -> Days:
    """Give the days that a range of times touches. Raises ValueError for an empty range.

    A range with a beginning and no end goes on to tomorrow, for clocks differ; so it can be listed day by day.
    """
    first = None if since is None else ms_from_iso(since) // DAY_MS
    if until is not None:
        last: int | None = (ms_from_iso(until) - 1) // DAY_MS
    else:
        last = None if first is None else max(first, now_ms // DAY_MS + 1)
    if since is not None and until is not None and until <= since:
        raise ValueError(f"until ({until}) is not after since ({since})")
    return Days(first, last)


def day_folder(key: str, prefix: str) -> str | None:
    """Give ``YYYY/MM/DD`` of a key directly below a day folder of this prefix; None for any other."""
    head = f"{prefix}/" if prefix else ""
    if not key.startswith(head):
        return None
    folder, _, name = key[len(head) :].rpartition("/")
    return folder if name and _DAY_FOLDER.fullmatch(folder) else None
