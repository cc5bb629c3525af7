"""Puts records into the store and never gives up on them.

Small ones go the quick way, where the store has one (``QuickPuts``): begun and taken in the shipper's own thread.
Whatever does not succeed there, and all while the store is in trouble, goes to threads, which know what to do.

Threads rather than coroutines: a put blocks in Rust without the interpreter's lock, and costs less so (see
``store/objects.py``). A record whose store is away stays with its thread, which asks again and again; since
only so many records are out at a time, memory stays flat meanwhile. Only a record that the store refuses for
its own sake (too large) comes back unsettled, so that it blocks no thread. How many threads are awake is ``Pace``'s
to say; the others are parked, or not yet started.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

from llm_audit.journal import crash
from llm_audit.ship.build import BuiltRecord
from llm_audit.ship.pace import Pace
from llm_audit.ship.quarantine import Quarantined, keep
from llm_audit.ship.retry import RetryPolicy, Waiting
from llm_audit.ship.storing import Storing, created, store_record
from llm_audit.store.objects import ObjectRefusedError, ObjectStore, QuickPuts, StoreError


class Job(NamedTuple):
    """One record to store, and what to keep in quarantine before."""

    built: BuiltRecord
    quarantined: Quarantined | None = None


class Settled(NamedTuple):
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
    """Up to a number of threads, a queue before them and results behind them."""

    def __init__(
        self,
        store: ObjectStore,
        quarantine: Path,
        *,
        threads: int,
        retry: RetryPolicy,
        on_settled: Callable[[], None],
    ) -> None:
        """``on_settled`` is called from the threads, whenever the first result is there to be taken."""
        self._store = store
        self._quick = store.quick_puts()
        self._quarantine = quarantine
        self._waiting = Waiting(retry)
        self._on_settled = on_settled
        self._jobs: deque[Job] = deque()
        self._settled: deque[Settled] = deque()
        self._trouble: Trouble | None = None
        self.error_count = 0
        self._pace = Pace(threads)
        self._lock = threading.Lock()
        """Guards the three below."""
        self._threads: list[threading.Thread] = []
        self._parked: list[threading.Semaphore] = []
        """Those that parked last wake first: they are still warm."""
        self._awake = 0

    @property
    def trouble(self) -> Trouble | None:
        """The store's present trouble; None while it works."""
        return self._trouble

    @property
    def quick_under_way(self) -> int:
        """How many puts go on without a thread, and wait for ``take_settled``."""
        return 0 if self._quick is None else self._quick.under_way

    def submit(self, job: Job) -> None:
        """Begin to store a job's record."""
        built = job.built
        if (
            self._quick is None
            or self._trouble is not None
            or job.quarantined is not None
            or not self._quick.begin(job, built.key, built.data, built.sha256)
        ):
            self._to_threads(job)

    def _to_threads(self, job: Job) -> None:
        self._jobs.append(job)
        self._wake_one()  # under its lock: a thread that parks meanwhile either sees the job or is woken

    def take_settled(self) -> list[Settled]:
        """Take all results so far."""
        taken = [] if self._quick is None else self._take_quick(self._quick)
        while self._settled:
            taken.append(self._settled.popleft())
        return taken

    def _take_quick(self, quick: QuickPuts) -> list[Settled]:
        """Take what the quick way stored; what it did not, is stored by threads."""
        stored = []
        for token, is_stored in quick.ended():
            job = cast("Job", token)
            if is_stored:
                crash.point("after-put")
                stored.append(Settled(job, created(job.built)))
            else:
                self._to_threads(job)
        return stored

    def stop(self, timeout_s: float) -> None:
        """End the threads; a put that is under way may outlive the time limit, and is then left to itself."""
        self._waiting.stop()
        with self._lock:
            for turn in self._parked:
                turn.release()
            self._parked.clear()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def close(self) -> None:
        """Let go of the quick way; after ``stop`` and the last ``take_settled``."""
        if self._quick is not None:
            self._quick.close()

    def _wake_one(self) -> None:
        """Let one more thread work, if the pace allows and there is a job for it."""
        with self._lock:
            if self._awake >= self._pace.limit or not self._jobs or self._waiting.is_stopped:
                return
            self._awake += 1
            if self._parked:
                self._parked.pop().release()
                return
            name = f"put-{len(self._threads)}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        turn = threading.Semaphore(0)
        while (job := self._next(turn)) is not None:
            settled = self._settle(job)
            if settled is None:
                return
            # The taker may empty the deque between these lines: then it looks again after its poll interval.
            was_empty = not self._settled
            self._settled.append(settled)
            if was_empty:
                self._on_settled()
            if self._jobs and self._awake < self._pace.limit:
                self._wake_one()

    def _next(self, turn: threading.Semaphore) -> Job | None:
        """Take a job, or park until there is one for this thread; None once all is stopped."""
        while not self._waiting.is_stopped:
            if self._awake <= self._pace.limit:
                with suppress(IndexError):
                    return self._jobs.popleft()
            with self._lock:
                if self._waiting.is_stopped or (self._jobs and self._awake <= self._pace.limit):
                    continue
                self._awake -= 1
                self._parked.append(turn)
            turn.acquire()
        return None

    def _settle(self, job: Job) -> Settled | None:
        """Try until it is stored or refused; None where all was stopped before."""
        attempt = 0
        while not self._waiting.is_stopped:
            began = time.perf_counter()
            try:
                if job.quarantined is not None:
                    keep(self._quarantine, job.quarantined)
                storing = store_record(self._store, job.built)
                crash.point("after-put")
            except ObjectRefusedError as error:
                return Settled(job, None, str(error))
            except (StoreError, OSError) as error:
                self._failed(str(error))
                self._waiting.sleep(attempt)
                attempt += 1
            else:
                self._trouble = None
                self._waiting.succeeded()
                self._pace.took(time.perf_counter() - began, more_waiting=bool(self._jobs))
                return Settled(job, storing)
        return None

    def _failed(self, message: str) -> None:
        # Threads race here; a count that is off by a few harms nobody.
        self.error_count += 1
        before = self._trouble
        since_ms = before.since_ms if before else time.time_ns() // 1_000_000
        self._trouble = Trouble(message, before.count + 1 if before else 1, since_ms)
