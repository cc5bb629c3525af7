"""Group commit: one thread syncs, and one wake-up of the event loop tells everybody who waited.

Callbacks are taken before the segments to sync are looked up, so whatever a callback waits for lies in what is
synced. A segment that was left since the last sync is synced first, then unmapped.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from llm_audit.journal.counted import CountedCalls
from llm_audit.journal.segments import Segment, Sync

_IDLE_S = 1.0
T = TypeVar("T")


class Syncer:
    """Owns the thread. Its methods are called on the event loop's thread."""

    def __init__(
        self,
        current: Callable[[], tuple[Segment, int]],
        counts: CountedCalls,
        loop: asyncio.AbstractEventLoop | None,
        sync: Sync,
        on_error: Callable[[Exception], None],
    ) -> None:
        self._current = current
        self._counts = counts
        self._loop = loop
        self._sync = sync
        self._on_error = on_error
        self._waiting: list[Callable[[], None]] = []
        self.left: list[Segment] = []
        """Segments that the writer has left and that are not synced yet."""
        self._synced: tuple[Segment, int] | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._syncing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="journal-sync", daemon=True)
        self._thread.start()

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Run the callback on the event loop after the sync of all that was appended before.

        Without a loop (tools, tests) there is nobody to share with: sync and call back here and now.
        """
        if self._loop is None:
            try:
                self.sync_now()
            except OSError as error:
                self._on_error(error)
            else:
                callback()
            return
        self._waiting.append(callback)
        if not self._wake.is_set():
            self._wake.set()

    def stop(self) -> None:
        """End the thread; callbacks that still wait are dropped."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def sync_now(self) -> None:
        """Sync everything from the calling thread. Raises OSError; that is never tried again."""
        with self._syncing:
            self._counts.sync(self._sync)  # first: it says which record is about to speak of a count
            segment, offset = self._current()
            left = self.left[:]  # looked up after the current one: a roll in between must not hide a segment
            for one in left:
                self._sync(one.fd)
            self._sync(segment.fd)
            self._synced = segment, offset
            for one in left:
                one.close()
                self.left.remove(one)
            segment.forget_pages(offset)

    def _run(self) -> None:
        while True:
            self._wake.wait(_IDLE_S)
            self._wake.clear()
            if self._stopping:
                return
            callbacks, self._waiting = self._waiting, []
            if not (callbacks or self.left or self._counts.is_dirty or self._current() != self._synced):
                continue
            try:
                self.sync_now()
            except OSError as error:
                self._tell(self._on_error, error)
                return
            if callbacks:
                self._tell(_run_all, callbacks)

    def _tell(self, function: Callable[[T], None], argument: T) -> None:
        if self._loop is None:
            function(argument)
            return
        try:
            self._loop.call_soon_threadsafe(function, argument)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return


def _run_all(callbacks: list[Callable[[], None]]) -> None:
    for callback in callbacks:
        callback()
