"""Journal → record → object → ledger → notification: the loop that does it, for all writers of one journal.

One turn: take what the store's threads have settled and write it into the ledger (durably, one transaction for
all); tell the readers, whose segments may then be freed; read what has newly ended, build it in sequence, hand it
to the threads. Only so many records and bytes are out at a time, counted until they are in the ledger, so memory
stays flat while store, ledger or index are away.

What holds at each crash point: killed before a put, the exchange is read and built again, to the same bytes;
between put and ledger, it is put again, found to exist and adopted (``storing``); between ledger and ``collect``,
the ledger says so and nothing is built; between ledger and notification, the ledger remembers what was not told.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from llm_audit.journal import crash
from llm_audit.journal.model import EndedExchange
from llm_audit.ship.build import BuiltRecord, Note, build, build_stub
from llm_audit.ship.digest_ledger import stop_digesting
from llm_audit.ship.digests import DigestConfig, Digester
from llm_audit.ship.folders import private_folder
from llm_audit.ship.ledger import Ledger, LedgerError, Mark, StoredRecord
from llm_audit.ship.line import WINDOW_RECORDS, Entry
from llm_audit.ship.lock import ShipLock
from llm_audit.ship.notify import Notifier, Notify
from llm_audit.ship.pace import Rest
from llm_audit.ship.putters import Job, Putters, Settled
from llm_audit.ship.quarantine import Quarantined, quarantined
from llm_audit.ship.retry import RetryPolicy
from llm_audit.ship.status import ShipperStatus, Tally, report, write_status
from llm_audit.ship.watch import Watch, Watched
from llm_audit.ship.writers import Writer, Writers, describe
from llm_audit.store.objects import ObjectStore

_LOG = logging.getLogger(__name__)

ENOUGH_OUT = WINDOW_RECORDS * 3 // 4
"""With so many records out the threads have work; until then, the loop does not rest."""
GATHER_S = 0.02
"""A thread's result waits so long for others: one transaction and one wake-up then serve them all."""
COLLECT_EVERY_S = 1.0
FORGET_EVERY_S = 10.0
REFUSED_RETRY = RetryPolicy(base_s=60.0, cap_s=3600.0)
"""When a record that the store refused for its own sake is tried again: somebody has to change a limit first."""


@dataclass(frozen=True, slots=True)
class ShipConfig:
    """Where things lie, and how much may be under way. Times in seconds."""

    journal: Path
    quarantine: Path
    status_file: Path
    threads: int = 96
    """Puts that may be under way at once: at 30 ms each (S3), some 3,000 a second. Few are needed elsewhere."""
    window_bytes: int = 64 << 20
    """Bytes of records that may be out at a time; one larger than that goes alone."""
    poll_s: float = 0.05
    status_every_s: float = 1.0
    orphan_after_s: float = 5.0
    drain_s: float = 10.0
    """How long a clean stop may take to ship what is there."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    digests: DigestConfig | None = None
    """None: what is stored is listed in no digest."""


class Shipper:
    """Ships one journal. Made once, run once."""

    def __init__(
        self,
        config: ShipConfig,
        store: ObjectStore,
        notify: Notify | None,
        *,
        on_status: Callable[[ShipperStatus], None] | None = None,
        watch: Watch | None = None,
    ) -> None:
        """Take the journal's lock and open the ledger.

        ``notify`` None: somebody else tells the index (S3 does). ``on_status`` sees each status that is written,
        ``watch`` the records that are stored.
        Raises ShipLockedError, LedgerError and OSError.
        """
        self._on_status = on_status
        self._watched = Watched(watch)
        self._config = config
        private_folder(config.journal)
        self._lock = ShipLock(config.journal)
        self._ledger = Ledger(config.journal / "ledger.sqlite3")
        self._writers = Writers(config.journal, self._ledger, config.orphan_after_s)
        self._notifier = (
            None if notify is None else Notifier(self._ledger, store.bucket, notify, config.retry)
        )
        self._digester = self._new_digester(store)
        self._store = store
        self._tally = Tally(started_at=time.time_ns() // 1_000_000)
        self._out: dict[tuple[str, int, int], tuple[Writer, Entry]] = {}
        self._out_bytes = 0
        self._settled_now = 0
        self._rest = Rest()
        self._rows: list[StoredRecord] = []
        self._marks: dict[str, Mark] = {}
        self._done: list[tuple[Writer, EndedExchange, int]] = []
        self._refused: list[tuple[float, Writer, Entry]] = []
        self._collect_at = self._forget_at = self._status_at = self._ledger_at = 0.0

    def _new_digester(self, store: ObjectStore) -> Digester | None:
        if self._config.digests is None:
            stop_digesting(self._ledger)
            return None
        return Digester(self._config.digests, self._ledger, store, self._config.retry, self._writers.ids)

    async def run(self, stop: asyncio.Event) -> None:
        """Ship until ``stop`` is set, then what is there, within ``drain_s``; then let go of everything."""
        loop = asyncio.get_running_loop()
        self._more = asyncio.Event()
        self._putters = Putters(
            self._store,
            self._config.quarantine,
            threads=self._config.threads,
            retry=self._config.retry,
            on_settled=lambda: _wake(loop, self._more),
        )
        stopping = asyncio.create_task(_forward(stop, self._more))
        telling = None if self._notifier is None else asyncio.create_task(self._notifier.run())
        digesting = None if self._digester is None else asyncio.create_task(self._digester.run())
        try:
            while not stop.is_set():
                await self._turn_and_rest("shipping")
            deadline = time.monotonic() + self._config.drain_s
            await self._drain(deadline)
            await _cancelled(telling)
            await self._tell_the_rest(deadline)
            await _cancelled(digesting)
            await self._digest_the_rest(deadline)
        finally:
            await _cancelled(telling)
            await _cancelled(digesting)
            await _cancelled(stopping)
            self._close()

    async def _turn_and_rest(self, state: str) -> bool:
        """Do one turn, then wait until there is more to do; True where it found something to ship."""
        now = time.monotonic()
        is_busy = self._turn(now)
        if now >= self._status_at:
            self._status_at = now + self._config.status_every_s
            self._write_status(state)
        if is_busy:
            await asyncio.sleep(0)
            return True
        if self._putters.quick_under_way:
            await asyncio.sleep(self._rest.after(self._settled_now, is_full=len(self._out) >= ENOUGH_OUT))
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.poll_s):
                await self._more.wait()
                if len(self._out) > 1:
                    await asyncio.sleep(GATHER_S)
        self._more.clear()
        return False

    def _turn(self, now: float) -> bool:
        """Do what there is to do; True where the threads could do with more, and there may be more."""
        self._settle(now)
        self._writers.scan(now)
        self._retry_refused(now)
        took = 0
        for writer in self._writers:
            writer.read(now)
            took += self._take(writer)
        if now >= self._collect_at:
            self._collect_at = now + COLLECT_EVERY_S
            for writer in self._writers:
                writer.collect(now)
        if now >= self._forget_at:
            self._forget_at = now + FORGET_EVERY_S
            with suppress(LedgerError):  # a ledger that cannot be written shows when records are settled
                self._ledger.forget(time.time_ns() // 1_000_000)
        return took > 0 and len(self._out) < ENOUGH_OUT

    def _take(self, writer: Writer) -> int:
        """Build what the line gives and hand it to the threads, as far as there is room; give how many it gave."""
        count = 0
        while len(self._out) < WINDOW_RECORDS and (
            self._out_bytes < self._config.window_bytes or not self._out
        ):
            given = writer.line.next()
            if given is None:
                break
            count += 1
            if isinstance(given, EndedExchange):
                writer.reader.stored(given)
            else:
                self._submit(writer, given)
        return count

    def _submit(self, writer: Writer, entry: Entry) -> None:
        job = _job(entry, self._watched.note)
        built = job.built
        if not entry.refusals:
            writer.line.linked(entry, built.sha256)
        entry.ended_at_ms = built.ended_at_ms
        self._out[writer.id, *entry.place] = (writer, entry)
        self._out_bytes += len(built.data)
        self._putters.submit(job)

    def _settle(self, now: float) -> None:
        """Write what was stored into the ledger; once it is there, let the readers free it.

        Where the ledger cannot be written, all stays out (and the window fills) until it can.
        """
        settled_now = self._putters.take_settled()
        self._settled_now = len(settled_now)
        for settled in settled_now:
            self._note(settled, now)
        if not self._rows or now < self._ledger_at:
            return
        try:
            self._ledger.commit(
                self._rows,
                self._marks,
                time.time_ns() // 1_000_000,
                is_told=self._notifier is None,
            )
        except LedgerError as error:
            if self._tally.ledger_error is None:
                _LOG.error("%s", error)
            self._tally.ledger_error = str(error)
            self._ledger_at = now + 1.0
            return
        crash.point("after-ledger")
        self._tally.ledger_error = None
        for writer, ended, size in self._done:
            writer.reader.stored(ended)
            del self._out[writer.id, ended.opening.boot, ended.sequence]
            self._out_bytes -= size
        self._rows.clear()
        self._marks.clear()
        self._done.clear()
        self._watched.tell()
        if self._notifier is not None:
            self._notifier.wake()

    def _note(self, settled: Settled, now: float) -> None:
        """Take over one result: a row for the ledger, or a record to try again later."""
        built, storing = settled.job.built, settled.storing
        at = built.writer
        writer, entry = self._out[at.id, at.boot, at.sequence]
        if storing is None:
            _LOG.error("record %s is refused by the store and waits: %s", built.key, settled.refusal)
            self._tally.refusal = settled.refusal
            self._refused.append((now + REFUSED_RETRY.limit_s(entry.refusals), writer, entry))
            entry.refusals += 1
            del self._out[at.id, at.boot, at.sequence]
            self._out_bytes -= len(built.data)
            return
        row = storing.stored
        is_whole = writer.line.stored(entry.place, row.sha256, built.sha256)
        self._rows.append(row)
        self._done.append((writer, entry.ended, len(built.data)))
        if (mark := writer.line.mark) is not None:
            self._marks[writer.id] = mark
        self._tally.count(settled, is_whole=is_whole)
        self._watched.add(built.note)

    def _retry_refused(self, now: float) -> None:
        due = [(writer, entry) for at, writer, entry in self._refused if at <= now]
        self._refused = [waiting for waiting in self._refused if waiting[0] > now]
        for writer, entry in due:
            self._submit(writer, entry)

    async def _drain(self, deadline: float) -> None:
        """Ship what is there; exchanges of dead writers are closed first, for nobody will adopt them now."""
        self._writers.scan(time.monotonic(), at_once=True)
        self._status_at = 0.0
        while time.monotonic() < deadline:
            is_busy = await self._turn_and_rest("stopping")
            if not is_busy and not self._out:
                break

    async def _tell_the_rest(self, deadline: float) -> None:
        if self._notifier is not None:
            with suppress(TimeoutError, LedgerError):
                async with asyncio.timeout(max(0.1, deadline - time.monotonic())):
                    await self._notifier.finish()

    async def _digest_the_rest(self, deadline: float) -> None:
        if self._digester is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.1, deadline - time.monotonic())):
                    await self._digester.finish()

    def _close(self) -> None:
        self._putters.stop(2.0)
        now = time.monotonic()
        self._ledger_at = now
        self._settle(now)
        self._putters.close()
        for writer in self._writers:
            writer.collect(now)
        self._write_status("stopped")
        self._writers.close()
        self._ledger.close()
        self._lock.release()

    def _write_status(self, state: str) -> None:
        status = report(
            self._tally,
            state=state,
            writers={writer.id: writer.status() for writer in self._writers},
            untold=self._ledger.count_untold(),
            putters=self._putters,
            oldest_ended_at=min((entry.ended_at_ms for _, entry in self._out.values()), default=None),
            refused=len(self._refused),
            index_error=None if self._notifier is None else self._notifier.last_error,
            digest_error=None if self._digester is None else self._digester.last_error,
        )
        if self._on_status is not None:
            self._on_status(status)
        try:
            write_status(self._config.status_file, status)
        except OSError as error:
            _LOG.warning("status cannot be written: %s", error)


def _job(entry: Entry, note: Note | None) -> Job:
    """Build an entry's record; where that cannot be done, the stub and what to keep in quarantine."""
    ended = entry.ended
    reason = ended.damage
    if reason is None:
        try:
            return Job(build(ended, entry.previous_sha256, note))
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not stop what comes after
            reason = f"this version of llm-audit cannot build it: {describe(error)}"
    _LOG.error("a record goes to quarantine: %s", reason)
    return Job(_stub(entry, reason, note), _evidence(ended, reason))


def _stub(entry: Entry, reason: str, note: Note | None) -> BuiltRecord:
    """Build the stub, from the exchange's place alone where its fields are what cannot be written down."""
    try:
        return build_stub(entry.ended, entry.previous_sha256, reason, note)
    except Exception as error:  # noqa: BLE001 - the chain must go on
        _LOG.error("nothing of its request or end goes into the stub: %s", describe(error))
        bare = entry.ended._replace(request=None, end=None)
        return build_stub(bare, entry.previous_sha256, reason, note)


def _evidence(ended: EndedExchange, reason: str) -> Quarantined:
    try:
        return quarantined(ended, reason)
    except Exception as error:  # noqa: BLE001 - the reason alone is better than a chain that stands still
        _LOG.error("its frames cannot be read for the quarantine: %s", describe(error))
        return quarantined(ended, reason, with_frames=False)


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(event.set)


async def _cancelled(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _forward(stop: asyncio.Event, to: asyncio.Event) -> None:
    await stop.wait()
    to.set()
