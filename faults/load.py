"""Many clients in a thread of their own, while a fault happens in this one."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import uvloop

from faults.clients import ANY, Ledger, keep_calling


class Load:
    """So many clients that call, without a pause unless told, from ``with`` on; at its end each finishes its last call."""

    def __init__(
        self,
        port: int,
        rng: random.Random,
        clients: int,
        *,
        bodies: Sequence[bytes] = ANY,
        ledger: Ledger | None = None,
        pause_s: float = 0.0,
    ) -> None:
        """Start nothing yet. ``ledger`` goes on where an earlier load ended; ``pause_s`` lies between two calls."""
        self.ledger = ledger or Ledger()
        self._port = port
        self._rng = random.Random(rng.getrandbits(64))
        self._clients = clients
        self._bodies = bodies
        self._pause_s = pause_s
        self._over = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="clients")

    def _run(self) -> None:
        work = keep_calling(
            self._port, self.ledger, self._rng, self._clients, lambda: self._over, self._bodies, self._pause_s
        )
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(work)
        except BaseException as error:  # noqa: BLE001 - raised again where the load ends
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def wait_for_calls(self, count: int, seconds: float = 3.0) -> None:
        """Let the clients make so many calls more, or the seconds pass: nobody answers while a system starts."""
        self._wait(len(self.ledger.calls) + count, lambda: len(self.ledger.calls), seconds)

    def wait_for_answers(self, count: int, seconds: float = 30.0, *, status: int = 200) -> bool:
        """Let so many calls more be answered whole with this status; False where that takes too long."""

        def answered() -> int:
            return sum(call.ended and call.status == status for call in self.ledger.calls[before:])

        before = len(self.ledger.calls)
        return self._wait(count, answered, seconds)

    def _wait(self, enough: int, measure: Callable[[], int], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while measure() < enough:
            if time.monotonic() >= end or not self._thread.is_alive():
                return False
            time.sleep(0.01)
        return True
