"""What one proxy worker knows beyond a connection: gate, journal writer, pool; it opens every exchange."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from llm_audit.journal.counted import UNAUDITED, Reason
from llm_audit.journal.frames import encode_request_start
from llm_audit.journal.model import JournalFailedError, JournalFullError
from llm_audit.journal.writer import JournalWriter, OpenExchange
from llm_audit.proxy.answers import health_answer, refusal_answer
from llm_audit.proxy.config import ProxyConfig
from llm_audit.proxy.counting import Counting
from llm_audit.proxy.exchange import Exchange
from llm_audit.proxy.gate import Admission, CallerHeaders, Gate, Kind
from llm_audit.proxy.ports import ExchangeShell, NoJournal
from llm_audit.proxy.refusals import Caller, Refusal, RefusalBudget
from llm_audit.proxy.request_head import BadRequestError, RequestFields, RequestHead
from llm_audit.proxy.upstream import UpstreamPool
from llm_audit.record.identity import format_request_id, new_request_id
from llm_audit.record.schema import ErrorInfo, IdentitySource, Outcome

if TYPE_CHECKING:
    from llm_audit.proxy.server import ServerProtocol

ADMISSION_ROOM: Final = 64 * 1024
"""Bytes beyond the request that must be free for a call to be accepted."""

REFUSAL_ROOM: Final = 2048
"""Bytes of journal that a refusal takes beside its head."""

NO_CALLERS: Final = CallerHeaders()


class Service:
    """One worker's state; every method runs on its event loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: ProxyConfig,
        gate: Gate,
        pool: UpstreamPool,
    ) -> None:
        self.loop = loop
        self.clock: Callable[[], float] = loop.time
        self.limits = config.limits
        self.max_body_bytes = config.max_body_bytes
        self.connections: set[ServerProtocol] = set()
        self.draining = False
        self.drained = asyncio.Event()
        """Set once nothing is open any more while draining."""
        self.upstream_ready: bool = not config.upstream_is_launched
        self.upstream_answers = False
        self._upstream_is_launched = config.upstream_is_launched
        self._counting = Counting(config.writer_dir)
        self.passed = 0
        """Calls that ``AUDIT_WHEN_FULL=pass`` let through unrecorded."""
        self._pass_when_full = config.pass_when_full
        self._gate = gate
        self._pool = pool
        pool.on_unreachable = self.upstream_unreachable
        self._budget = RefusalBudget()
        self._writer: JournalWriter | None = None
        self._unaudited = ExchangeShell(
            pool.connect, _at_once, self.clock, loop.call_later, config.limits, config.pass_when_full
        )
        self._audited = self._unaudited
        self._no_journal = NoJournal()

    # --- the journal -------------------------------------------------------------------------------------

    @property
    def writer(self) -> JournalWriter | None:
        """The writer of the current boot; None while there is none."""
        return self._writer

    def use_writer(self, writer: JournalWriter) -> None:
        """Begin a boot."""
        self._writer = writer
        self._counting.use(writer.counts)
        self._audited = ExchangeShell(
            self._pool.connect,
            writer.when_durable,
            self.clock,
            self.loop.call_later,
            self.limits,
            self._pass_when_full,
        )

    def journal_failed(self, error: Exception) -> None:
        """End every exchange that is under way: the boot is over."""
        self._writer = None
        for connection in list(self.connections):
            connection.journal_lost(JournalFailedError(str(error)))

    def upstream_unreachable(self) -> None:
        """Take note that no connection could be made: a launched model server is starting again."""
        self.upstream_answers = False
        self.upstream_ready = not self._upstream_is_launched

    # --- exchanges ---------------------------------------------------------------------------------------

    def open_exchange(
        self, client: ServerProtocol, head: RequestHead, body: bytes, *, complete: bool
    ) -> Exchange:
        """Decide about a request and open its exchange; it may be over when this returns."""
        verdict = self._gate.admit(
            head.method, head.path, head.callers, client.peer, self.clock(), time.time()
        )
        if isinstance(verdict, Refusal):
            return self._refused(client, head, verdict, complete=complete)
        if verdict.kind is Kind.HEALTH:
            return self._unaudited_exchange(client, head, verdict, body, complete=complete)
        problem = self._not_now(head, verdict)
        if problem is not None:
            return self._refused(client, head, problem, complete=complete)
        if verdict.kind is Kind.PASS:
            return self._unaudited_exchange(client, head, verdict, body, complete=complete)
        start = _start(client, head, verdict)
        try:
            journal = self._begin(start, body, head.content_length or 0, last=complete)
        except (JournalFullError, JournalFailedError) as error:
            return self._without_journal(client, head, verdict, body, error, complete=complete)
        exchange = Exchange(self._audited, client, journal, head, verdict.request_id_text)
        client.exchange = exchange
        exchange.request_begun(body, complete=complete)
        return exchange

    def _begin(self, start: bytes, body: bytes, content_length: int, *, last: bool) -> OpenExchange:
        writer = self._writer
        if writer is None:
            raise JournalFailedError("the journal cannot be written")
        if not writer.has_room(len(start) + max(content_length, len(body)) + ADMISSION_ROOM):
            raise JournalFullError("the journal is full")
        return writer.begin(start, body, last=last)

    def _not_now(self, head: RequestHead, verdict: Admission) -> Refusal | None:
        if (head.content_length or 0) > self.max_body_bytes:
            message = f"a body of {head.content_length} bytes was announced; at most {self.max_body_bytes} are taken"
            return _refusal(413, "body_too_large", message, verdict)
        if self.draining:
            message = "this proxy is shutting down; try again"
            return _refusal(503, "draining", message, verdict, retry_after=1)
        if not self.upstream_ready:
            message = "the model server is starting; try again"
            return _refusal(503, "upstream_starting", message, verdict, retry_after=5)
        return None

    def _without_journal(
        self,
        client: ServerProtocol,
        head: RequestHead,
        verdict: Admission,
        body: bytes,
        error: Exception,
        *,
        complete: bool,
    ) -> Exchange:
        """Refuse what the journal cannot take, or let it pass and count it (``AUDIT_WHEN_FULL``)."""
        if self._pass_when_full:
            self.passed += 1
            self._counting.count(UNAUDITED)
            return self._unaudited_exchange(client, head, verdict, body, complete=complete)
        kind = "journal_full" if isinstance(error, JournalFullError) else "journal_failed"
        message = f"{error}, so this call cannot be audited; try again"
        return self._refused(
            client, head, _refusal(503, kind, message, verdict, retry_after=5), complete=complete
        )

    def _unaudited_exchange(
        self, client: ServerProtocol, head: RequestHead, verdict: Admission, body: bytes, *, complete: bool
    ) -> Exchange:
        exchange = Exchange(self._unaudited, client, self._no_journal, head, verdict.request_id_text)
        client.exchange = exchange
        if verdict.kind is Kind.HEALTH:
            status, body = self.health()
            exchange.answer(health_answer(status, body), Outcome.COMPLETE, request_complete=complete)
        else:
            exchange.request_begun(body, complete=complete)
        return exchange

    def _refused(
        self, client: ServerProtocol, head: RequestHead, refusal: Refusal, *, complete: bool
    ) -> Exchange:
        """Answer a refusal; it is a record of its own unless too many come, or the journal has no room."""
        journal = self._refusal_journal(client, head, refusal)
        shell = self._unaudited if journal is None else self._audited
        exchange = Exchange(shell, client, journal or self._no_journal, head, refusal.caller.request_id_text)
        client.exchange = exchange
        keep = complete and not self.draining
        exchange.answer(refusal_answer(refusal), Outcome.REJECTED, request_complete=keep)
        return exchange

    def _refusal_journal(
        self, client: ServerProtocol, head: RequestHead, refusal: Refusal
    ) -> OpenExchange | None:
        """Begin the refusal's record, or count it where there is no room or too many come."""
        writer = self._writer
        if writer is not None and self._budget.admit(self.clock()):
            start = _start(client, head, refusal.caller)
            if writer.room_for_refusal(len(start) + REFUSAL_ROOM):
                with contextlib.suppress(JournalFullError, JournalFailedError):
                    return writer.begin(start, b"", last=False)
        self._counting.count(Reason(refusal.status, refusal.code), refusal.sample())
        return None

    def refuse_unreadable(self, client: ServerProtocol, error: BadRequestError, raw: bytes) -> Exchange:
        """Answer a request that could not be read.

        Its fields are not kept: they may hold credentials in a form that redaction would not recognise.
        """
        request_id = new_request_id(time.time_ns() // 1_000_000)
        caller = Caller(
            request_id,
            format_request_id(request_id),
            None,
            None,
            None,
            IdentitySource.CLAIMED,
            None,
            client.peer,
        )
        refusal = Refusal(error.status, "bad_request", error.message, caller)
        return self._refused(client, unreadable_head(raw), refusal, complete=False)

    # --- time and health ---------------------------------------------------------------------------------

    def tick(self) -> None:
        """Look at every limit; called about once a second."""
        now = self.clock()
        for connection in list(self.connections):
            connection.tick(now)
        self._pool.sweep(now)
        if self._writer is not None:
            self._writer.tell_counted()

    def health(self) -> tuple[int, bytes]:
        """Answer for proxy, journal and upstream together: status and JSON body of ``/health``."""
        writer = self._writer
        journal = "failed" if writer is None else "ok" if writer.has_room(ADMISSION_ROOM) else "full"
        upstream = "ok" if self.upstream_answers else "starting" if not self.upstream_ready else "unreachable"
        proxy = "draining" if self.draining else "ok"
        healthy = (proxy, journal, upstream) == ("ok", "ok", "ok")
        body = {
            "status": "ok" if healthy else "unavailable",
            "proxy": proxy,
            "journal": journal,
            "upstream": upstream,
        }
        return (200 if healthy else 503), json.dumps(body).encode()

    def connection_closed(self, connection: ServerProtocol) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        if self.draining and not self.connections:
            self.drained.set()

    def drain(self) -> None:
        """Close what rests; accept no new call on what is open."""
        self.draining = True
        if not self.connections:
            self.drained.set()
        for connection in list(self.connections):
            connection.drain()

    def interrupt_all(self, why: str) -> None:
        """End every exchange that is still under way."""
        for connection in list(self.connections):
            connection.interrupt(ErrorInfo("drain_timeout", why))


def _at_once(callback: Callable[[], None]) -> None:
    """Durability of what is not journaled."""
    callback()


def _refusal(
    status: int, code: str, message: str, verdict: Admission, retry_after: int | None = None
) -> Refusal:
    headers = () if retry_after is None else (("retry-after", str(retry_after)),)
    return Refusal(status, code, message, Caller(*verdict[1:]), None, headers)


def _start(client: ServerProtocol, head: RequestHead, caller: Admission | Caller) -> bytes:
    return encode_request_start(
        request_id=caller.request_id,
        started_wall_ns=client.started_wall_ns,
        started_mono_ns=client.started_mono_ns,
        method=head.method.decode("latin-1"),
        target=head.target.decode("latin-1"),
        header_lines=head.record_lines,
        client_address=caller.client_address,
        identity_source=caller.identity_source,
        key_id=caller.key_id,
        source=caller.source,
        user=caller.user,
        request_type=caller.request_type,
    )


def unreadable_head(raw: bytes) -> RequestHead:
    """Stand in for a head that could not be read: of its request line, what is plain is kept."""
    method, _, rest = raw[:1024].partition(b"\n")[0].partition(b" ")
    target = rest.partition(b" ")[0]
    if not (
        method.isalpha() and method.isupper() and target.isascii() and target.decode("ascii").isprintable()
    ):
        method = target = b""
    fields = RequestFields(None, None, False, False, False, NO_CALLERS, b"", b"")
    return RequestHead(method, target, target.partition(b"?")[0], 1, None, NO_CALLERS, b"", fields)
