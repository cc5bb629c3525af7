"""One shipper per journal: a lock that the kernel lets go when its process dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class ShipLockedError(Exception):
    """Another process ships this journal."""


class ShipLock:
    """``flock`` on ``<journal>/ship.lock``, held until ``release`` or the end of the process."""

    def __init__(self, journal: Path) -> None:
        """Take the lock. Raises ShipLockedError where another process holds it, OSError where no file can be made."""
        self._file = os.open(journal / "ship.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            raise ShipLockedError(
                f"another process ships the journal in {journal}: end it, or give this one another AUDIT_JOURNAL_DIR"
            ) from None

    def release(self) -> None:
        """Let go."""
        os.close(self._file)
