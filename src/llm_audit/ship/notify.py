"""Telling others (the index) what was stored: in order, at least once, and never in the way of storing.

What was told is remembered in the ledger, so that nothing is forgotten when the process dies. While the index is
away, its batch is tried again and again. Where a batch fails but some of its records succeed alone, the others
are set aside as *late* and tried once in a while, so that one record that the index cannot take does not keep all
later ones from being found.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from llm_audit.ship.ledger import Ledger, LedgerError, StoredRecord
from llm_audit.ship.retry import RetryPolicy

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ObjectCreated:
    """A record lies in the store: where, how many bytes, and the SHA-256 of them."""

    bucket: str
    key: str
    size: int
    sha256: str


Notify = Callable[[Sequence[ObjectCreated]], Awaitable[None]]
"""Takes a batch in full or raises; telling it the same twice changes nothing."""

BATCH = 256
LATE_EVERY_S = 60.0
ALONE_AFTER = 3
"""After so many failures of one batch, its records are tried one by one."""


class Notifier:
    """One task that works through the ledger."""

    def __init__(self, ledger: Ledger, bucket: str, notify: Notify, retry: RetryPolicy) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._notify = notify
        self._retry = retry
        self._more = asyncio.Event()
        self._more.set()
        self.last_error: str | None = None

    def wake(self) -> None:
        """Say that the ledger has more."""
        self._more.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        clock = asyncio.get_running_loop().time
        late_at = clock() + LATE_EVERY_S
        failures = 0
        while True:
            try:
                if clock() >= late_at:
                    late_at = clock() + LATE_EVERY_S
                    await self._late()
                is_well = await self._step(failures)
            except LedgerError as error:
                self.last_error = str(error)
                is_well = False
            failures = 0 if is_well else failures + 1
            if failures:
                await asyncio.sleep(self._retry.delay_s(failures - 1))

    async def _step(self, failures: int) -> bool:
        """Tell one batch, or wait for there to be one; False where that failed."""
        batch = self._ledger.untold(BATCH)
        if not batch:
            self._more.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LATE_EVERY_S):
                    await self._more.wait()
            return True
        if failures >= ALONE_AFTER:
            return await self._one_by_one(batch)
        if not await self._try([record for _, record in batch]):
            return False
        self._ledger.tell(batch[-1][0])
        return True

    async def finish(self) -> None:
        """Tell what there is, once, without retries: for a clean stop, after ``run`` was cancelled."""
        while batch := self._ledger.untold(BATCH):
            if not await self._try([record for _, record in batch]):
                return
            self._ledger.tell(batch[-1][0])

    async def _late(self) -> None:
        told = [id_ for id_, record in self._ledger.late(BATCH) if await self._try([record])]
        self._ledger.tell_late(told)

    async def _one_by_one(self, batch: list[tuple[int, StoredRecord]]) -> bool:
        """Set aside the records that fail alone, if others do not; False where all fail: the index is away."""
        failed = [id_ for id_, record in batch if not await self._try([record])]
        if len(failed) == len(batch):
            return False
        if failed:
            _LOG.warning("%d of %d records cannot be indexed and are set aside", len(failed), len(batch))
        self._ledger.tell(batch[-1][0], except_ids=failed)
        return True

    async def _try(self, records: Sequence[StoredRecord]) -> bool:
        batch = [ObjectCreated(self._bucket, r.key, r.size, r.sha256) for r in records]
        try:
            await self._notify(batch)
        except Exception as error:  # noqa: BLE001 - whatever the index raises, storing goes on
            self.last_error = f"{type(error).__name__}: {error}"[:500]
            return False
        self.last_error = None
        return True
