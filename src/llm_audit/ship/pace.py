"""How many puts are worth having under way at once, told by how long they take. Pure.

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
