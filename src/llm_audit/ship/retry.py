"""How long to wait before asking a store again: exponential back-off with full jitter, and no stampede.

A thread that failed sleeps for a random time below a limit that doubles with each failure. A success anywhere
wakes one sleeper, whose own success wakes the next: a store that comes back is used at once, and one that
throttles is not stormed.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Seconds: the limit of the first wait, and the largest limit."""

    base_s: float = 0.1
    cap_s: float = 15.0

    def limit_s(self, attempt: int) -> float:
        """Give the longest wait after failure number ``attempt`` (from 0)."""
        return min(self.cap_s, self.base_s * 2.0 ** min(attempt, 30))

    def delay_s(self, attempt: int) -> float:
        """Draw a wait: full jitter, so that many writers do not come back at the same instant."""
        return random.uniform(0, self.limit_s(attempt))  # noqa: S311 - spreads load, guards nothing


class Waiting:
    """Where failed threads sleep: until their time is up, a success wakes them, or all is stopped."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._changed = threading.Condition()
        self._sleepers = 0
        self._wake = 0
        self._stopped = False

    @property
    def is_stopped(self) -> bool:
        """Whether ``stop`` was called."""
        return self._stopped

    def sleep(self, attempt: int) -> None:
        """Wait as the policy says."""
        with self._changed:
            self._sleepers += 1
            self._changed.wait_for(lambda: self._stopped or self._wake > 0, self._policy.delay_s(attempt))
            self._sleepers -= 1
            self._wake = max(0, self._wake - 1)

    def succeeded(self) -> None:
        """Wake one sleeper, if any."""
        if self._sleepers:  # read without the lock: a sleeper missed here wakes by its own time
            with self._changed:
                self._wake = min(self._wake + 1, self._sleepers)
                self._changed.notify()

    def stop(self) -> None:
        """Wake everybody for good."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
