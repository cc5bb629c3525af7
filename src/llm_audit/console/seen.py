"""Which previews somebody has seen already, so that a list that refreshes is recorded once and not every other second."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

MOST_REMEMBERED = 20_000


class Seen:
    """Remembers (viewer, call). What is forgotten is recorded once more: never too little. Used by several threads."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = threading.Lock()

    def unseen(self, viewer: str, calls: Iterable[str]) -> list[str]:
        """Give the calls that this viewer has not seen; ``note`` them once they are on record."""
        with self._lock:
            return [call for call in calls if (viewer, call) not in self._seen]

    def note(self, viewer: str, calls: Iterable[str]) -> None:
        """Take note of what was recorded."""
        with self._lock:
            for call in calls:
                self._seen[viewer, call] = None
                self._seen.move_to_end((viewer, call))
            while len(self._seen) > MOST_REMEMBERED:
                self._seen.popitem(last=False)
