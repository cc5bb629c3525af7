"""How many puts are worth having under way at once, and when to look after them. Pure.

A store that answers from far away (S3: some 20 ms) wants many at once. One that is near, or busy, does not get
faster by them: they wait in its queue instead of ours, and each thread that is awake costs the node CPU (30 µs a
record between 8 and 32, with a store on loopback). So the number grows while puts take about as long as they did
when few were under way, and falls when they take twice that: what TCP Vegas does with packets. Now and then it
begins anew, for a store may have become slower by itself.
"""

from __future__ import annotations

from typing import Final

FEWEST: Final = 4
WINDOW: Final = 32
"""Puts that are judged together, by the quickest of them: a large object among them does not mislead."""
BEGIN_ANEW: Final = 2000
"""Windows after which the undisturbed time is measured again."""
_CROWDED: Final = 2.0


class Pace:
    """The number of puts to have under way, between ``FEWEST`` and a maximum."""

    __slots__ = ("_count", "_quickest", "_undisturbed", "_windows", "limit", "maximum")

    def __init__(self, maximum: int) -> None:
        """Begin with few; ``maximum`` may be less than ``FEWEST``."""
        self.maximum = maximum
        self._begin()

    def _begin(self) -> None:
        self.limit = min(FEWEST, self.maximum)
        self._undisturbed = float("inf")
        self._quickest = float("inf")
        self._count = 0
        self._windows = 0

    def took(self, seconds: float, *, more_waiting: bool) -> None:
        """Take note of a put that succeeded, and whether others waited for their turn.

        Called by several threads at once: a put that is lost between two of them changes nothing much.
        """
        self._quickest = min(self._quickest, seconds)
        self._count += 1
        if self._count >= WINDOW:
            self._judge(self._quickest, more_waiting=more_waiting)

    def _judge(self, quickest: float, *, more_waiting: bool) -> None:
        self._count = 0
        self._quickest = float("inf")
        self._windows += 1
        if self._windows >= BEGIN_ANEW:
            self._begin()
            return
        self._undisturbed = min(self._undisturbed, quickest)
        if quickest > self._undisturbed * _CROWDED:
            self.limit = max(min(FEWEST, self.maximum), self.limit - 1 - self.limit // 8)
        elif more_waiting:
            self.limit = min(self.maximum, self.limit + 1 + self.limit // 4)


class Rest:
    """How long to leave puts alone that go on by themselves (``QuickPuts``) before looking what has ended.

    A look costs something for each put under way, and what it finds one transaction of the ledger: so it waits
    until there is much to find. With the window full and a store that answers at once, it must not wait so long.
    """

    LONGEST_S: Final = 0.05
    SHORTEST_S: Final = 0.002
    FEW: Final = 32
    MANY: Final = 64

    __slots__ = ("_rest_s",)

    def __init__(self) -> None:
        self._rest_s = self.LONGEST_S

    def after(self, ended: int, *, is_full: bool) -> float:
        """Give the seconds to rest, after a look that found so many ended; ``is_full``: nothing more can begin."""
        if not is_full:
            return self.LONGEST_S
        if ended < self.FEW:
            self._rest_s = min(self.LONGEST_S, self._rest_s * 2)
        elif ended >= self.MANY:
            self._rest_s = max(self.SHORTEST_S, self._rest_s / 2)
        return self._rest_s
