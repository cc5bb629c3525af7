"""How often a password may be tried: a limit per user and one per address. Pure; the clock is given."""

from __future__ import annotations

import threading
from collections import deque

WINDOW_SECONDS = 900.0
PER_USER = 10
"""Failures within the window, for one user from anywhere; then that user waits."""
PER_ADDRESS = 30
"""Failures within the window from one address, for whatever users."""
_MOST_KEYS = 10_000
"""Users and addresses remembered at once: whoever invents names must not fill the memory."""


class Attempts:
    """Counts failed logins. Used by several threads."""

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str], deque[float]] = {}
        self._lock = threading.Lock()

    def wait_seconds(self, user: str, address: str, now: float) -> float:
        """Give how long this user at this address must wait before the next try; 0 where it may try."""
        limits = (("user", user.lower(), PER_USER), ("address", address, PER_ADDRESS))
        with self._lock:
            return max(self._wait((kind, value), limit, now) for kind, value, limit in limits)

    def _wait(self, key: tuple[str, str], limit: int, now: float) -> float:
        failures = self._failures.get(key)
        if failures is None:
            return 0.0
        while failures and failures[0] <= now - WINDOW_SECONDS:
            failures.popleft()
        if not failures:
            del self._failures[key]
        return failures[-limit] + WINDOW_SECONDS - now if len(failures) >= limit else 0.0

    def failed(self, user: str, address: str, now: float) -> None:
        """Take note of a failure."""
        with self._lock:
            for key in (("user", user.lower()), ("address", address)):
                if key not in self._failures and len(self._failures) >= _MOST_KEYS:
                    self._failures.pop(next(iter(self._failures)))
                self._failures.setdefault(key, deque(maxlen=PER_ADDRESS)).append(now)

    def succeeded(self, user: str, address: str) -> None:
        """Forget a user's failures, and the last of the address, which was this try."""
        with self._lock:
            self._failures.pop(("user", user.lower()), None)
            failures = self._failures.get(("address", address))
            if failures:
                failures.pop()
            if failures is not None and not failures:
                del self._failures["address", address]
