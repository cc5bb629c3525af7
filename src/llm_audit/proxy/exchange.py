"""One exchange, from the request's head to its outcome, with no socket in it. Pure.

Rules (architecture.md, "Invariants"):

1. Nothing goes upstream before the whole request is in the journal, and durable where ``host`` asks for it.
2. No byte of a response goes to the client before it is in the journal; the message's last bytes wait until
   its end is durable.
3. Every exchange that began ends once, with one outcome: the earliest event that can end it wins.
4. What the journal cannot take ends the exchange (``interrupted``), or passes, marked, by policy.

States and what moves them (``TRANSITIONS`` is the table; anything else is a bug and raises)::

    RECEIVING --request complete--> SYNCING --durable--> CONNECTING --connected--> WAITING
    WAITING --response head--> RESPONDING --response complete--> FLUSHING --last byte handed over--> ENDED
    RECEIVING, CONNECTING, WAITING --own answer (refusal, 408, 502, 504)--> FLUSHING
    any --client lost, upstream lost mid-response, limit passed, journal failed--> ENDED

The exchange talks to three ports, each a thin shell: the client's connection, an upstream connection, and its
part of the journal. The ports call back with what happened; they decide nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

from llm_audit.journal.frames import encode_response_start
from llm_audit.journal.model import JournalFailedError, JournalFullError
from llm_audit.proxy.heads import RequestHead, ResponseHead
from llm_audit.proxy.refusals import Refusal, error_body
from llm_audit.record.schema import ErrorInfo, Outcome


class State(IntEnum):
    """Where an exchange stands."""

    RECEIVING = 0
    SYNCING = 1
    CONNECTING = 2
    WAITING = 3
    RESPONDING = 4
    FLUSHING = 5
    ENDED = 6


TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    State.RECEIVING: frozenset({State.SYNCING, State.FLUSHING, State.ENDED}),
    State.SYNCING: frozenset({State.CONNECTING, State.FLUSHING, State.ENDED}),
    State.CONNECTING: frozenset({State.WAITING, State.FLUSHING, State.ENDED}),
    State.WAITING: frozenset({State.RESPONDING, State.FLUSHING, State.ENDED}),
    State.RESPONDING: frozenset({State.FLUSHING, State.ENDED}),
    State.FLUSHING: frozenset({State.ENDED}),
    State.ENDED: frozenset(),
}


class ClientPort(Protocol):
    """The client's connection, as the exchange needs it."""

    delivered: int
    """Content bytes of this exchange that were handed to the kernel."""

    def write(self, data: bytes, prefix: int, content: int) -> bool:
        """Hand over bytes of which ``content`` follow ``prefix`` ones of framing; True if none had to wait."""

    def close_when_sent(self) -> None:
        """End the connection once everything is handed over."""

    def reset(self) -> None:
        """End the connection at once, so that the client sees a failure."""

    def exchange_ended(self, *, reusable: bool) -> None:
        """Say that the exchange is over; a reusable connection may bring the next one."""


class UpstreamPort(Protocol):
    """A connection to the model server that carries one exchange."""

    def pause_reading(self) -> None:
        """Stop taking bytes: the client is slower."""

    def resume_reading(self) -> None:
        """Take bytes again."""

    def abort(self) -> None:
        """End the connection at once, so that the model server stops generating."""


class JournalPort(Protocol):
    """The exchange's part of the journal (``journal.writer.OpenExchange``)."""

    def request_body(self, data: bytes, *, last: bool) -> None:
        """Append a piece of the request's body."""

    def response(self, start: bytes, body: bytes, *, last: bool) -> None:
        """Append the response's head and the first piece of its body."""

    def response_body(self, data: bytes, *, last: bool) -> None:
        """Append a piece of the response's body."""

    def end(
        self, outcome: Outcome, status_code: int | None, delivered_bytes: int | None, error: ErrorInfo | None
    ) -> int:
        """Append the end, in room that is reserved for it."""


@dataclass(frozen=True, slots=True)
class ExchangeLimits:
    """Seconds after which an exchange is ended (contracts.md, "Environment")."""

    client_timeout: float = 30.0
    upstream_timeout: float = 600.0
    max_duration: float = 3600.0


@dataclass(frozen=True, slots=True)
class ExchangeShell:
    """What an exchange asks of the process around it."""

    connect: Callable[[Exchange], None]
    """Find an upstream connection; answers with ``upstream_ready`` or ``upstream_failed``."""
    when_durable: Callable[[Callable[[], None]], None]
    clock: Callable[[], float]
    """Monotonic seconds."""
    limits: ExchangeLimits


CHUNK_END: Final = b"\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
_NO_BODY_STATUS: Final = frozenset({204, 304})


class Exchange:
    """One request and its response on the wire."""

    __slots__ = (
        "_body",
        "_chunk_response",
        "_client",
        "_error",
        "_journal",
        "_last",
        "_outcome",
        "_shell",
        "_status",
        "_upstream",
        "active_at",
        "body_bytes",
        "head",
        "keep_alive",
        "request_id_text",
        "started_at",
        "state",
    )

    def __init__(
        self, shell: ExchangeShell, client: ClientPort, journal: JournalPort, head: RequestHead, request_id: str
    ) -> None:
        self._shell = shell
        self._client = client
        self._journal = journal
        self.head = head
        self.request_id_text = request_id
        self.keep_alive = head.keep_alive
        self.state = State.RECEIVING
        self.body_bytes = 0
        self._body: list[bytes] = []
        self._upstream: UpstreamPort | None = None
        self._chunk_response = False
        self._status: int | None = None
        self._outcome = Outcome.COMPLETE
        self._error: ErrorInfo | None = None
        self._last: tuple[bytes, int, int] = (b"", 0, 0)
        self.started_at = self.active_at = shell.clock()

    # --- the request -------------------------------------------------------------------------------------

    def request_begun(self, body: bytes, *, complete: bool) -> None:
        """Say what the REQUEST frame already holds of the body."""
        if body:
            self._body.append(body)
            self.body_bytes = len(body)
        if complete:
            self._request_complete()

    def request_received(self, data: bytes, *, complete: bool) -> None:
        """Journal a piece of the request's body; once complete, sync, then look for an upstream connection."""
        if self.state is not State.RECEIVING:
            return
        self.active_at = self._shell.clock()
        try:
            self._journal.request_body(data, last=complete)
        except (JournalFullError, JournalFailedError) as error:
            self.journal_lost(error)
            return
        if data:
            self._body.append(data)
            self.body_bytes += len(data)
        if complete:
            self._request_complete()

    def _request_complete(self) -> None:
        self._move(State.SYNCING)
        self._shell.when_durable(self._request_durable)

    def _request_durable(self) -> None:
        if self.state is State.SYNCING:
            self._move(State.CONNECTING)
            self.active_at = self._shell.clock()
            self._shell.connect(self)

    # --- upstream ----------------------------------------------------------------------------------------

    def upstream_ready(self, upstream: UpstreamPort) -> list[bytes]:
        """Take a connection; answers the pieces of the body to send, which the exchange then forgets."""
        self._move(State.WAITING)
        self._upstream = upstream
        self.active_at = self._shell.clock()
        body, self._body = self._body, []
        return body

    def upstream_received(self, head: ResponseHead | None, body: bytes, *, complete: bool) -> None:
        """Journal and pass on what one read from upstream brought: a head, a piece of the body, the end."""
        if self.state is State.ENDED:
            return
        self.active_at = self._shell.clock()
        try:
            if head is None:
                self._journal.response_body(body, last=complete)
                wire, prefix = self._framed(b"", body)
            else:
                self._move(State.RESPONDING)
                self._journal.response(
                    encode_response_start(head.status, head.record_lines), body, last=complete
                )
                wire, prefix = self._framed(self._client_head(head), body)
        except (JournalFullError, JournalFailedError) as error:
            self.journal_lost(error)
            return
        if complete:
            self._upstream = None
            if self._chunk_response:
                wire += LAST_CHUNK
            self._finish(wire, prefix, len(body))
        elif not self._client.write(wire, prefix, len(body)) and self._upstream is not None:
            self._upstream.pause_reading()

    def upstream_failed(self, error: ErrorInfo, *, timeout: bool = False) -> None:
        """Say that the connection could not be made, was lost, broke HTTP, or stayed silent for too long."""
        if self.state in (State.FLUSHING, State.ENDED):
            return
        self._drop_upstream()
        outcome = Outcome.UPSTREAM_TIMEOUT if timeout else Outcome.UPSTREAM_ERROR
        if self.state is State.RESPONDING:
            self._end(outcome, error)
            self._client.close_when_sent()
        else:
            self._answer(Refusal(504 if timeout else 502, error.type, error.type, error.message), outcome)

    def _framed(self, head: bytes, body: bytes) -> tuple[bytes, int]:
        """Frame a piece of the body for the client; answers the bytes, and how many stand before the piece."""
        if not body:
            return head, len(head)
        if self._chunk_response:
            size = b"%x\r\n" % len(body)
            return b"".join((head, size, body, CHUNK_END)), len(head) + len(size)
        return (head + body if head else body), len(head)

    def _client_head(self, head: ResponseHead) -> bytes:
        """Give the response's head as this hop sends it: own framing, our request id, the rest as it came."""
        self._status = status = head.status
        framing = b""
        bodiless = status in _NO_BODY_STATUS or self.head.method == b"HEAD"
        if head.content_length is not None:
            framing = b"content-length: %d\r\n" % head.content_length
        elif bodiless:
            pass
        elif self.head.http_minor:
            self._chunk_response = True
            framing = b"transfer-encoding: chunked\r\n"
        else:
            self.keep_alive = False
        return b"HTTP/1.1 %d %b\r\n%bx-request-id: %b\r\n%b%b\r\n" % (
            status,
            head.reason,
            head.forward_lines,
            self.request_id_text.encode("ascii"),
            framing,
            b"" if self.keep_alive else b"connection: close\r\n",
        )

    # --- own answers -------------------------------------------------------------------------------------

    def refuse(self, refusal: Refusal) -> None:
        """Answer by ourselves and end as ``rejected``; before the request's end this closes the connection."""
        self._answer(refusal, Outcome.REJECTED)

    def _answer(self, refusal: Refusal, outcome: Outcome) -> None:
        """Journal an answer of our own as the response, and send it."""
        if self.state is State.RECEIVING:
            self.keep_alive = False
        body = error_body(refusal)
        lines = answer_lines(refusal, body)
        self._outcome = outcome
        self._error = ErrorInfo(refusal.type, refusal.message)
        self._status = refusal.status
        self._body = []
        try:
            self._journal.response(encode_response_start(refusal.status, lines), body, last=True)
        except (JournalFullError, JournalFailedError) as error:
            self.journal_lost(error)
            return
        head = answer_head(refusal.status, lines, self.request_id_text, keep_alive=self.keep_alive)
        if self.head.method == b"HEAD":
            body = b""
        self._finish(head + body, len(head), len(body))

    # --- the end -----------------------------------------------------------------------------------------

    def _finish(self, wire: bytes, prefix: int, content: int) -> None:
        """Hand over the message's last bytes once its end is durable."""
        self._move(State.FLUSHING)
        self._last = (wire, prefix, content)
        self._shell.when_durable(self._response_durable)

    def _response_durable(self) -> None:
        if self.state is not State.FLUSHING:
            return
        self.active_at = self._shell.clock()
        wire, prefix, content = self._last
        self._last = (b"", 0, 0)
        if self._client.write(wire, prefix, content):
            self._delivered()

    def client_drained(self) -> None:
        """Say that everything which had to wait is handed over."""
        self.active_at = self._shell.clock()
        if self.state is State.FLUSHING:
            if not self._last[0]:
                self._delivered()
        elif self._upstream is not None:
            self._upstream.resume_reading()

    def _delivered(self) -> None:
        self._end(self._outcome, self._error)
        self._client.exchange_ended(reusable=self.keep_alive)

    def client_lost(self, error: ErrorInfo) -> None:
        """Say that the client left, or took or sent nothing for too long; upstream stops at once."""
        if self.state is State.ENDED:
            return
        self._drop_upstream()
        self._end(Outcome.CLIENT_DISCONNECTED, error)

    def client_silent(self) -> None:
        """Say that the client sent nothing of its body, or took nothing, for too long."""
        message = f"the client was silent for {self._shell.limits.client_timeout:g} s"
        if self.state is State.RECEIVING:
            self._answer(
                Refusal(408, "client_timeout", "client_timeout", message), Outcome.CLIENT_DISCONNECTED
            )
        else:
            self.client_lost(ErrorInfo("client_timeout", message))
            self._client.reset()

    def interrupt(self, error: ErrorInfo) -> None:
        """End at once: the drain's or the duration's limit passed."""
        if self.state is State.ENDED:
            return
        self._drop_upstream()
        self._end(Outcome.INTERRUPTED, error)
        self._client.reset()

    def journal_lost(self, error: Exception) -> None:
        """End at once: the journal cannot take what came. The client is reset, so that it knows."""
        if self.state is State.ENDED:
            return
        self._drop_upstream()
        kind = "journal_full" if isinstance(error, JournalFullError) else "journal_failed"
        self._end(Outcome.INTERRUPTED, ErrorInfo(kind, str(error)))
        self._client.reset()

    def _end(self, outcome: Outcome, error: ErrorInfo | None) -> None:
        self._move(State.ENDED)
        self._body = []
        delivered = None if outcome is Outcome.INTERRUPTED else self._client.delivered
        try:
            self._journal.end(outcome, self._status, delivered, error)
        except JournalFailedError:
            return  # this boot of the writer is over: recovery ends the exchange as interrupted

    def _drop_upstream(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()

    def _move(self, state: State) -> None:
        if state not in TRANSITIONS[self.state]:
            raise RuntimeError(f"exchange {self.request_id_text} cannot go from {self.state.name} to {state.name}")
        self.state = state

    # --- time --------------------------------------------------------------------------------------------

    def tick(self, now: float, *, client_waiting_since: float | None) -> None:
        """Look at the limits; called about once a second. ``client_waiting_since`` is None unless data waits."""
        limits = self._shell.limits
        if now - self.started_at > limits.max_duration:
            self.interrupt(ErrorInfo("max_duration", f"the call took longer than {limits.max_duration:g} s"))
        elif client_waiting_since is not None:
            if now - client_waiting_since > limits.client_timeout:
                self.client_silent()
        elif self.state is State.RECEIVING:
            if now - self.active_at > limits.client_timeout:
                self.client_silent()
        elif self.state in (State.CONNECTING, State.WAITING, State.RESPONDING) and (
            now - self.active_at > limits.upstream_timeout
        ):
            message = f"the model server sent no byte for {limits.upstream_timeout:g} s"
            self.upstream_failed(ErrorInfo("upstream_timeout", message), timeout=True)


def answer_lines(refusal: Refusal, body: bytes) -> bytes:
    """Field lines of an answer of our own."""
    extra = b"".join(b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in refusal.headers)
    return b"content-type: application/json\r\ncontent-length: %d\r\n%b" % (len(body), extra)


def answer_head(status: int, lines: bytes, request_id: str, *, keep_alive: bool) -> bytes:
    """Head of an answer of our own."""
    return b"HTTP/1.1 %d %b\r\n%bx-request-id: %b\r\n%b\r\n" % (
        status,
        _REASONS.get(status, b""),
        lines,
        request_id.encode("ascii"),
        b"" if keep_alive else b"connection: close\r\n",
    )


_REASONS: Final[dict[int, bytes]] = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    417: b"Expectation Failed",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}
