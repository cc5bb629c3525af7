"""Threads that put records into the store and never give up on them.

Threads rather than coroutines: a put blocks in Rust without the interpreter's lock, and costs less so (see
``store/objects.py``). A record whose store is away stays with its thread, which asks again and again; since
only so many records are out at a time, memory stays flat meanwhile. Only a record that the store refuses for
its own sake (too large) comes back unsettled, so that it blocks no thread.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llm_audit.ship.build import BuiltRecord
from llm_audit.ship.quarantine import Quarantined, keep
from llm_audit.ship.retry import RetryPolicy, Waiting
from llm_audit.ship.storing import Storing, store_record
from llm_audit.store.objects import ObjectRefusedError, ObjectStore, StoreError


@dataclass(frozen=True, slots=True)
class Job:
    """One record to store, and what to keep in quarantine before."""

    built: BuiltRecord
    quarantined: Quarantined | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """A job that has ended: stored, or refused by the store for good (``storing`` is None, ``refusal`` says why)."""

    job: Job
    storing: Storing | None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with the store right now: message, how often in a row, and since when (epoch, ms)."""

    message: str
    count: int
    since_ms: int


class Putters:
    """A fixed number of threads, a queue before them and results behind them."""

    def __init__(
        self,
        store: ObjectStore,
        quarantine: Path,
        *,
        threads: int,
        retry: RetryPolicy,
        on_settled: Callable[[], None],
    ) -> None:
        """Start the threads. ``on_settled`` is called from them, whenever the first result is there to be taken."""
        self._store = store
        self._quarantine = quarantine
        self._waiting = Waiting(retry)
        self._on_settled = on_settled
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._settled: deque[Settled] = deque()
        self._trouble: Trouble | None = None
        self.error_count = 0
        self._threads = [
            threading.Thread(target=self._work, name=f"put-{n}", daemon=True) for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def trouble(self) -> Trouble | None:
        """The store's present trouble; None while it works."""
        return self._trouble

    def submit(self, job: Job) -> None:
        """Hand a job to the threads."""
        self._jobs.put(job)

    def take_settled(self) -> list[Settled]:
        """Take all results so far."""
        taken = []
        while self._settled:
            taken.append(self._settled.popleft())
        return taken

    def stop(self, timeout_s: float) -> None:
        """End the threads; a put that is under way may outlive the time limit, and is then left to itself."""
        self._waiting.stop()
        for _ in self._threads:
            self._jobs.put(None)
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None and not self._waiting.is_stopped:
            settled = self._settle(job)
            if settled is None:
                return
            # The taker may empty the deque between these lines: then it looks again after its poll interval.
            was_empty = not self._settled
            self._settled.append(settled)
            if was_empty:
                self._on_settled()

    def _settle(self, job: Job) -> Settled | None:
        """Try until it is stored or refused; None where all was stopped before."""
        attempt = 0
        while not self._waiting.is_stopped:
            try:
                if job.quarantined is not None:
                    keep(self._quarantine, job.quarantined)
                storing = store_record(self._store, job.built)
            except ObjectRefusedError as error:
                return Settled(job, None, str(error))
            except (StoreError, OSError) as error:
                self._failed(str(error))
                self._waiting.sleep(attempt)
                attempt += 1
            else:
                self._trouble = None
                self._waiting.succeeded()
                return Settled(job, storing)
        return None

    def _failed(self, message: str) -> None:
        # Threads race here; a count that is off by a few harms nobody.
        self.error_count += 1
        before = self._trouble
        since_ms = before.since_ms if before else time.time_ns() // 1_000_000
        self._trouble = Trouble(message, before.count + 1 if before else 1, since_ms)
