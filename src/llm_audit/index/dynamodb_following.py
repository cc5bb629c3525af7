"""Following a table that keeps no order of arrival: what is new among the newest.

Each look reads the newest calls back to a while before the newest that was seen, and gives those that were not there
before. A call is recorded when it ended, so one that took long comes late and stands further back: most looks go back
a minute, every tenth a quarter of an hour. A call that began earlier than that is in lists, but not told here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from llm_audit.index.index import Arrivals
from llm_audit.index.schema import Item, keys
from llm_audit.record.times import iso_from_ms, ms_from_iso

SHORT_MS = 60_000
LONG_MS = 900_000
LOOKS_PER_LONG = 10
"""Every so manieth look goes far back."""

LOOKED_AT = 2000
"""Items that a look reads at most."""

POSITIONS_KEPT = 64
"""Positions whose state is remembered; one that is older begins anew at its time."""

Newest = Callable[[str | None, int], list[Item]]
"""Gives the newest items since a time, at most so many, newest first."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What stood back to the far end at one position."""

    newest: str | None
    places: frozenset[str] = field(default_factory=frozenset)
    looks: int = 0


class Following:
    """What was seen at each position that was given out."""

    def __init__(self) -> None:
        self._positions: OrderedDict[str, _Seen] = OrderedDict()
        self._numbers = count()

    def arrivals(self, newest: Newest, position: str | None, limit: int) -> Arrivals:
        """Give what came since a position, oldest first; without one, nothing, and the position."""
        if position is None:
            items = newest(None, 1)
            last = keys(items[0])["createdAt"] if items else None
            there = newest(_back(last, LONG_MS), LOOKED_AT) if last else []
            return Arrivals((), self._remember(_Seen(last, frozenset(map(_place, there)))))
        seen = self._positions.get(position) or _Seen(position.partition(":")[2] or None)
        back = LONG_MS if seen.looks % LOOKS_PER_LONG == 0 else SHORT_MS
        there = newest(_back(seen.newest, back), LOOKED_AT)
        new = [item for item in reversed(there) if _place(item) not in seen.places and _is_new(item, seen)]
        given = new[:limit]
        # More came than one look reads: what lies between the last look and this one was never read.
        is_partial = len(there) == LOOKED_AT and len(new) == LOOKED_AT
        far = _back(max([seen.newest or "", *map(_place, given)]) or None, LONG_MS) or ""
        kept = {place for place in seen.places if place >= far}
        last = max([seen.newest or "", *map(_place, given)]) or None
        after = _Seen(last, frozenset(kept.union(map(_place, given))), seen.looks + 1)
        return Arrivals(tuple(given), self._remember(after), is_partial)

    def _remember(self, seen: _Seen) -> str:
        position = f"{next(self._numbers)}:{seen.newest or ''}"
        self._positions[position] = seen
        while len(self._positions) > POSITIONS_KEPT:
            self._positions.popitem(last=False)
        return position


def _is_new(item: Item, seen: _Seen) -> bool:
    """Tell whether an item can be new; after a position that is forgotten, only what began later counts."""
    return bool(seen.places) or seen.newest is None or _place(item) > seen.newest


def _place(item: Item) -> str:
    return keys(item)["createdAt"]


def _back(place: str | None, milliseconds: int) -> str | None:
    """Give the time so long before a place."""
    if place is None:
        return None
    return iso_from_ms(max(0, ms_from_iso(place.partition("#")[0]) - milliseconds))
