"""Counts that may take seconds, made beside the pages: a page waits a moment, then shows what there is.

What was counted before is shown with its time while it is counted anew, and no count is begun again before it has
rested ten times as long as it took: so a busy page costs a tenth of one core at most, however much there is to count.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Counted = TypeVar("Counted")

PATIENCE_SECONDS = 0.12
"""How long a page waits for a count that was never made."""
RESTS = 10
"""A count rests so many times as long as it took."""
MOST_KEPT = 64


@dataclass(frozen=True, slots=True)
class Result(Generic[Counted]):
    """A count, and when it was made (wall clock, milliseconds since the epoch)."""

    value: Counted
    at_ms: int


@dataclass(slots=True)
class _Entry(Generic[Counted]):
    result: Result[Counted] | None = None
    due: float = 0.0
    running: Future[None] | None = None
    error: Exception | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Counting(Generic[Counted]):
    """Counts by key, one at a time. Used by several threads."""

    def __init__(self, least_seconds: float) -> None:
        """``least_seconds``: how long a count rests at least."""
        self._least = least_seconds
        self._entries: OrderedDict[object, _Entry[Counted]] = OrderedDict()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="counting")

    def get(self, key: object, count: Callable[[], Counted]) -> Result[Counted] | None:
        """Give the newest count of a key, having begun another where it is due; None while the first is under way.

        Raises what the count raised, once; asked again, it counts again.
        """
        entry = self._entry(key)
        with entry.lock:
            if entry.running is None and time.monotonic() >= entry.due:
                entry.running = self._pool.submit(self._count, entry, count)
            running = entry.running
        if running is not None and entry.result is None:
            try:
                running.result(PATIENCE_SECONDS)
            except NotYetError:
                return None
        with entry.lock:
            error, entry.error = entry.error, None
            if error is not None:
                raise error
            return entry.result

    def _entry(self, key: object) -> _Entry[Counted]:
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > MOST_KEPT:
                self._entries.popitem(last=False)
            return entry

    def _count(self, entry: _Entry[Counted], count: Callable[[], Counted]) -> None:
        began = time.monotonic()
        result, error = None, None
        try:
            result = Result(count(), time.time_ns() // 1_000_000)
        except Exception as raised:  # noqa: BLE001 - whoever asked gets it
            error = raised
        took = time.monotonic() - began
        with entry.lock:
            entry.result, entry.error = result or entry.result, error
            entry.due = time.monotonic() + max(self._least, RESTS * took)
            entry.running = None

    def close(self) -> None:
        """Begin no further count."""
        self._pool.shutdown(wait=False, cancel_futures=True)
