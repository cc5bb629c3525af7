"""Digests of what was stored: made from the ledger when their time comes, signed, kept, put. See ``integrity.digests``.

One *round* lists everything that was stored since the round before: at the start, at every interval, at a clean stop, and
whenever there are enough entries. Each writer gets its own digests, empty ones too.

What holds at each crash point: killed while a digest is made, it is made again from the same rows (``digest-made``); once
kept in the ledger, it is put, as it is, by whoever starts next (``digest-kept``); put and not yet forgotten, it is put
again, and found to be there (``digest-put``). No failure here keeps a record from being stored.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256

from llm_audit.integrity.digests import (
    MOST_ENTRIES,
    PREFIX,
    ChainEnd,
    DigestUnreadableError,
    Entry,
    Made,
    Place,
    Sign,
    make_digests,
    parse_digest_key,
    read_digest,
)
from llm_audit.journal import crash
from llm_audit.ship.digest_ledger import DigestLedger, Waiting
from llm_audit.ship.ledger import Ledger, LedgerError
from llm_audit.ship.ledger_reader import LedgerReader
from llm_audit.ship.retry import RetryPolicy
from llm_audit.ship.writers import describe
from llm_audit.store.objects import ObjectMissingError, ObjectStore, Put, StoreError

_LOG = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
"""How often it is seen whether a digest is due: a writer may be new, or entries enough."""


class SigningError(Exception):
    """A digest cannot be signed; the message says what to do."""


@dataclass(frozen=True, slots=True)
class DigestConfig:
    """How digests are made. ``open_key`` gives what signs, anew for each round, so that a new key is used at once."""

    interval_s: float
    open_key: Callable[[], Sign]
    """Raises SigningError; so may what it gives."""
    made_by: str
    """Program and version, for the head."""
    most_entries: int = MOST_ENTRIES
    look_every_s: float = LOOK_EVERY_S


class Digester:
    """One task beside the shipper's loop. Used from the loop's thread; what takes long runs in others."""

    def __init__(
        self,
        config: DigestConfig,
        ledger: Ledger,
        store: ObjectStore,
        retry: RetryPolicy,
        writers: Callable[[], Iterable[str]],
    ) -> None:
        """``writers`` gives the ids of those that have a journal now. Raises LedgerError."""
        self._config = config
        self._ledger = DigestLedger(ledger)
        self._ledger_path = ledger.path
        self._store = store
        self._retry = retry
        self._writers = writers
        self.last_error: str | None = None

    async def run(self) -> None:
        """Make digests until cancelled."""
        clock = asyncio.get_running_loop().time
        reason: str | None = "start"
        due = clock() + self._config.interval_s
        failures = 0
        while True:
            try:
                reason = reason or self._reason(is_due=clock() >= due)
                if reason is not None:
                    await self._round(reason)
                    due = due if reason == "full" else clock() + self._config.interval_s
                    reason = None
                await self._deliver()
            except Exception as error:  # noqa: BLE001 - whatever is wrong with digests, records are stored
                self._failed(error)
                failures += 1
                await asyncio.sleep(self._retry.delay_s(failures))
            else:
                self.last_error, failures = None, 0
                await asyncio.sleep(min(self._config.look_every_s, max(0.0, due - clock())))

    async def finish(self) -> None:
        """Make and put the last digests, without trying again: for a clean stop, after ``run`` was cancelled."""
        try:
            await self._round("stop")
            await self._deliver()
        except Exception as error:  # noqa: BLE001 - see run
            self._failed(error)

    def waiting(self) -> int:
        """Say how many digests are made and not yet put."""
        return self._ledger.count_waiting()

    def _failed(self, error: Exception) -> None:
        is_told = isinstance(error, StoreError | LedgerError | SigningError)
        message = str(error) if is_told else describe(error)
        if message != self.last_error:
            _LOG.error("digests wait: %s", message)
        self.last_error = message

    def _reason(self, *, is_due: bool) -> str | None:
        """Say why a round is to be made now, if it is."""
        if is_due:
            return "interval"
        if not self._ledger.ends().keys() >= set(self._writers()):
            return "start"
        is_enough = self._ledger.newest() - self._ledger.through() >= self._config.most_entries
        return "full" if is_enough else None

    async def _round(self, reason: str) -> None:
        """List everything that is stored by now, so many entries at a time."""
        newest = self._ledger.newest()
        while newest - self._ledger.through() > self._config.most_entries:
            await self._list("full", newest)
        await self._list(reason, newest)

    async def _list(self, reason: str, newest: int) -> None:
        through = self._ledger.through()
        sign = await asyncio.to_thread(self._config.open_key)
        upto, entries = await asyncio.to_thread(self._entries, through, newest)
        ends = self._ledger.ends()
        new = set(self._writers()) - ends.keys()
        others = set() if reason == "full" else set(self._writers())
        made: dict[str, list[Made]] = {}
        for writer in sorted(new | others | entries.keys()):
            own, end, why, place = entries.get(writer, []), ends.get(writer), reason, None
            if end is None:
                end = await asyncio.to_thread(last_digest, self._store, writer)
                why = reason if end is None else "recovered"
                place = self._ledger.place_before(writer)
            made[writer] = await asyncio.to_thread(self._make, writer, end, own, why, sign, place)
        crash.point("digest-made")
        self._ledger.keep(upto, made)
        crash.point("digest-kept")

    def _entries(self, through: int, newest: int) -> tuple[int, dict[str, list[Entry]]]:
        """Read the next rows of the ledger, by writer, and say up to which id."""
        with closing(LedgerReader(self._ledger_path)) as reader:
            return reader.entries_between(through, newest, self._config.most_entries)

    def _make(
        self,
        writer: str,
        end: ChainEnd | None,
        entries: list[Entry],
        reason: str,
        sign: Sign,
        place: Place | None,
    ) -> list[Made]:
        return make_digests(
            writer,
            end,
            entries,
            now_ms=time.time_ns() // 1_000_000,
            reason=reason,
            made_by=self._config.made_by,
            sign=sign,
            place=place,
        )

    async def _deliver(self) -> None:
        """Put what is kept, until nothing waits."""
        while (waiting := self._ledger.next_waiting()) is not None:
            if await asyncio.to_thread(self._put, waiting):
                self._ledger.delivered(waiting)
            else:
                _LOG.error(
                    "%s is another digest in the store than this ledger made: the ledger is an older copy. "
                    "The chain goes on from the store's",
                    waiting.key,
                )
                self._ledger.give_up_chain(waiting.writer)
                return

    def _put(self, waiting: Waiting) -> bool:
        """Put a digest; False where another one has its name."""
        put = self._store.put_new(waiting.key, waiting.data)
        crash.point("digest-put")
        return put is Put.CREATED or self._store.get(waiting.key) == waiting.data


def last_digest(store: ObjectStore, writer: str) -> ChainEnd | None:
    """Give where a writer's chain in the store ends; None where there is none. Raises StoreError.

    For a writer of which the ledger knows nothing: it is new, or the ledger was lost.
    """
    names = [
        entry.key for entry in store.list(f"{PREFIX}/{writer}") if parse_digest_key(entry.key) is not None
    ]
    end: ChainEnd | None = None
    for key in reversed(names):
        try:
            data = store.get(key)
        except ObjectMissingError:
            continue
        name = parse_digest_key(key)
        assert name is not None
        try:
            head = read_digest(data).head
        except DigestUnreadableError:
            end = end or ChainEnd(name.number, sha256(data).hexdigest(), 0, None)
            continue
        place = None if head.boot is None or head.last is None else (head.boot, head.last)
        end = end or ChainEnd(name.number, sha256(data).hexdigest(), head.to_ms, None)
        if place is not None:
            return end._replace(place=place)
    return end
