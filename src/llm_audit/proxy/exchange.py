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
    RESPONDING --upstream lost, broken or silent--> FLUSHING
    RECEIVING, CONNECTING, WAITING --own answer (refusal, 408, 502, 504)--> FLUSHING
    any --client lost, limit passed, journal failed--> ENDED

The exchange talks to three ports, each a thin shell: the client's connection, an upstream connection, and its
part of the journal. The ports call back with what happened; they decide nothing.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from llm_audit.journal.frames import encode_response_start
from llm_audit.journal.model import JournalFailedError, JournalFullError
from llm_audit.proxy.answers import Answer, answer_head, error_answer
from llm_audit.proxy.framing import LAST_CHUNK, chunk
from llm_audit.proxy.ports import ClientPort, ExchangeShell, JournalPort, TruncatedJournal, UpstreamPort
from llm_audit.proxy.request_head import RequestHead
from llm_audit.proxy.response_head import ResponseHead, client_head
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


_RECEIVING, _SYNCING, _CONNECTING, _WAITING, _RESPONDING, _FLUSHING, _ENDED = State

TRANSITIONS: Final[dict[State, tuple[State, ...]]] = {
    _RECEIVING: (_SYNCING, _FLUSHING, _ENDED),
    _SYNCING: (_CONNECTING, _FLUSHING, _ENDED),
    _CONNECTING: (_WAITING, _FLUSHING, _ENDED),
    _WAITING: (_RESPONDING, _FLUSHING, _ENDED),
    _RESPONDING: (_FLUSHING, _ENDED),
    _FLUSHING: (_ENDED,),
    _ENDED: (),
}

_ALLOWED: Final = tuple(frozenset(map(int, TRANSITIONS[state])) for state in State)
"""By plain numbers: an enum's own hash is Python code and costs more than the rest of a move."""


LEAVING_GRACE: Final = 0.05
"""Seconds that a message's end may still take once a client that took all so far has left. The openai client leaves at
``[DONE]``, an instant before the last chunk: with nothing more to take, it has taken the whole answer."""

_NO_BODY_STATUS: Final = frozenset({204, 304})


class Exchange:
    """One request and its response on the wire."""

    __slots__ = (
        "_behind",
        "_body",
        "_chunk_response",
        "_client",
        "_close_delimited",
        "_error",
        "_journal",
        "_last",
        "_left",
        "_only_end_left",
        "_outcome",
        "_shell",
        "_status",
        "_upstream",
        "active",
        "active_at",
        "body_bytes",
        "head",
        "keep_alive",
        "request_id_text",
        "started_at",
        "state",
    )

    def __init__(
        self,
        shell: ExchangeShell,
        client: ClientPort,
        journal: JournalPort,
        head: RequestHead,
        request_id: str,
    ) -> None:
        self._shell = shell
        self._client = client
        self._journal = journal
        self.head = head
        self.request_id_text = request_id
        self.keep_alive = head.fields.keep_alive
        self.state = _RECEIVING
        self.body_bytes = 0
        self._body: list[bytes] = []
        self._upstream: UpstreamPort | None = None
        self._chunk_response = self._close_delimited = False
        self._status: int | None = None
        self._outcome = Outcome.COMPLETE
        self._error: ErrorInfo | None = None
        self._last: tuple[bytes, int, int] = (b"", 0, 0)
        self._behind = self._only_end_left = False
        self._left: ErrorInfo | None = None
        self.started_at = self.active_at = shell.clock()
        self.active = False

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
        if self.state is not _RECEIVING or not (data or complete):
            return
        self.active = True
        try:
            self._journal.request_body(data, last=complete)
        except (JournalFullError, JournalFailedError) as error:
            if not self._goes_on_without(error):
                return
        if data:
            self._body.append(data)
            self.body_bytes += len(data)
        if complete:
            self._request_complete()

    def _request_complete(self) -> None:
        self._move(_SYNCING)
        self._shell.when_durable(self._request_durable)

    def _request_durable(self) -> None:
        if self.state is _SYNCING:
            self._move(_CONNECTING)
            self.active = True
            self._shell.connect(self)

    # --- upstream ----------------------------------------------------------------------------------------

    def upstream_ready(self, upstream: UpstreamPort) -> list[bytes]:
        """Take a connection; answers the pieces of the body to send, which the exchange then forgets."""
        self._move(_WAITING)
        self._upstream = upstream
        self.active = True
        body, self._body = self._body, []
        return body

    def upstream_received(self, head: ResponseHead | None, body: bytes, *, complete: bool) -> None:
        """Journal and pass on what one read from upstream brought: a head, a piece of the body, the end."""
        if self.state not in (_WAITING, _RESPONDING):
            return
        self.active = True
        try:
            if head is None:
                self._journal.response_body(body, last=complete)
            else:
                self._move(_RESPONDING)
                self._journal.response(
                    encode_response_start(head.status, head.record_lines), body, last=complete
                )
        except (JournalFullError, JournalFailedError) as error:
            if not self._goes_on_without(error):
                return
        if self._left is not None:
            self._without_client(took_all=complete and not body)
            return
        wire, prefix = self._framed(b"" if head is None else self._client_head(head), body)
        if complete:
            self._only_end_left = head is None and not body
            self._upstream = None
            if self._chunk_response:
                wire += LAST_CHUNK
            self._finish(wire, prefix, len(body))
        elif not self._client.write(wire, prefix, len(body)):
            self._behind = True
            if self._upstream is not None:
                self._upstream.pause_reading()

    def upstream_failed(self, error: ErrorInfo, *, timeout: bool = False) -> None:
        """Say that the connection could not be made, was lost, broke HTTP, or stayed silent for too long."""
        if self.state in (_FLUSHING, _ENDED):
            return
        self._drop_upstream()
        outcome = Outcome.UPSTREAM_TIMEOUT if timeout else Outcome.UPSTREAM_ERROR
        if self.state is _RESPONDING:
            self._cut(outcome, error)
        else:
            answer = error_answer(504 if timeout else 502, error.type, error.message)
            self.answer(answer, outcome, request_complete=True)

    def _cut(self, outcome: Outcome, error: ErrorInfo) -> None:
        """End a response in its middle: what is on its way still goes to the client, and nothing after it."""
        self.keep_alive = False
        if self._close_delimited:  # the connection's orderly end would say that the response is whole
            self._end(outcome, error)
            self._client.reset()
            return
        self._outcome, self._error = outcome, error
        self._move(_FLUSHING)
        if self._client.write(b"", 0, 0):
            self._delivered()

    def _framed(self, head: bytes, body: bytes) -> tuple[bytes, int]:
        """Frame a piece of the body for the client; answers the bytes, and how many stand before the piece."""
        if not body:
            return head, len(head)
        if self._chunk_response:
            return chunk(head, body)
        return (head + body if head else body), len(head)

    def _client_head(self, head: ResponseHead) -> bytes:
        """Give the response's head as this hop sends it: own framing, our request id, the rest as it came."""
        self._status = status = head.status
        framing = b""
        if head.content_length is not None and status != 204:  # RFC 9110 section 8.6
            framing = b"content-length: %d\r\n" % head.content_length
        elif status in _NO_BODY_STATUS or self.head.method == b"HEAD":
            pass
        elif self.head.http_minor:
            self._chunk_response = True
            framing = b"transfer-encoding: chunked\r\n"
        else:
            self._close_delimited = True
            self.keep_alive = False
        return client_head(head, self.request_id_text, framing, keep_alive=self.keep_alive)

    # --- own answers -------------------------------------------------------------------------------------

    def answer(self, answer: Answer, outcome: Outcome, *, request_complete: bool) -> None:
        """Journal an answer of our own as the response, and send it; before the request's end, close then."""
        self.keep_alive = self.keep_alive and request_complete
        self._outcome = outcome
        self._error = answer.error
        self._status = answer.status
        self._body = []
        try:
            self._journal.response(encode_response_start(answer.status, answer.lines), answer.body, last=True)
        except (JournalFullError, JournalFailedError) as error:
            if not self._goes_on_without(error):
                return
        head = answer_head(answer, self.request_id_text, keep_alive=self.keep_alive)
        body = b"" if self.head.method == b"HEAD" else answer.body
        self._finish(head + body, len(head), len(body))

    # --- the end -----------------------------------------------------------------------------------------

    def _finish(self, wire: bytes, prefix: int, content: int) -> None:
        """Hand over the message's last bytes once its end is durable."""
        self._move(_FLUSHING)
        self._last = (wire, prefix, content)
        self._shell.when_durable(self._response_durable)

    def _response_durable(self) -> None:
        if self.state is not _FLUSHING:
            return
        self.active = True
        wire, prefix, content = self._last
        self._last = (b"", 0, 0)
        if self._client.write(wire, prefix, content):
            self._delivered()

    def client_drained(self) -> None:
        """Say that everything which had to wait is handed over."""
        self.active = True
        self._behind = False
        if self.state is _FLUSHING:
            if not self._last[0]:
                self._delivered()
        elif self._upstream is not None:
            self._upstream.resume_reading()

    def _delivered(self) -> None:
        self._end(self._outcome, self._error)
        self._client.exchange_ended(reusable=self.keep_alive)

    def client_lost(self, error: ErrorInfo) -> None:
        """Say that the client left, or took or sent nothing for too long; upstream stops at once.

        One that leaves where nothing but the message's end is still to come has taken all of it: while that end waits
        for its sync, or within ``LEAVING_GRACE``.
        """
        if self.state is _ENDED or self._left is not None:
            return
        self._left = error
        if self.state is _RESPONDING and not self._behind:
            self._shell.later(LEAVING_GRACE, self._grace_is_over)
        else:
            self._without_client(took_all=self._only_end_left and not self._behind)

    def _grace_is_over(self) -> None:
        if self.state is not _ENDED:
            self._without_client(took_all=False)

    def _without_client(self, *, took_all: bool) -> None:
        self._drop_upstream()
        if took_all or (self.state is _FLUSHING and self._outcome is not Outcome.COMPLETE):
            self._end(self._outcome, self._error)  # where we answered, what made us answer came first
        else:
            self._end(Outcome.CLIENT_DISCONNECTED, self._left)

    def client_too_slow(self, message: str) -> None:
        """Say that the client sends its body, or takes its answer, too slowly."""
        if self.state is _RECEIVING:
            answer = error_answer(408, "client_timeout", message)
            self.answer(answer, Outcome.CLIENT_DISCONNECTED, request_complete=False)
        else:
            self.client_lost(ErrorInfo("client_timeout", message))
            self._client.reset()

    def interrupt(self, error: ErrorInfo) -> None:
        """End at once: a limit passed, or the journal cannot go on."""
        if self.state is _ENDED:
            return
        self._drop_upstream()
        self._end(Outcome.INTERRUPTED, error)
        self._client.reset()

    def _goes_on_without(self, error: Exception) -> bool:
        """Decide about a frame that the journal cannot take: go on, marked as truncated, or end here."""
        if self._shell.pass_when_full and isinstance(error, JournalFullError):
            self._journal = TruncatedJournal(self._journal)
            return True
        self.journal_lost(error)
        return False

    def journal_lost(self, error: Exception) -> None:
        """End at once: the journal cannot take what came. The client is reset, so that it knows."""
        kind = "journal_full" if isinstance(error, JournalFullError) else "journal_failed"
        self.interrupt(ErrorInfo(kind, str(error)))

    def _end(self, outcome: Outcome, error: ErrorInfo | None) -> None:
        self._move(_ENDED)
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
        if int(state) not in _ALLOWED[self.state]:
            raise RuntimeError(
                f"exchange {self.request_id_text} cannot go from {self.state.name} to {state.name}"
            )
        self.state = state

    # --- time --------------------------------------------------------------------------------------------

    def tick(self, now: float, *, client_waiting_since: float | None) -> None:
        """Look at the limits; called about once a second. ``client_waiting_since`` is None unless data waits."""
        limits = self._shell.limits
        if self.active:  # a flag between two ticks, so that the data path never asks for the time
            self.active = False
            self.active_at = now
        if now - self.started_at > limits.max_duration:
            self.interrupt(ErrorInfo("max_duration", f"the call took longer than {limits.max_duration:g} s"))
        elif client_waiting_since is not None:
            if now - client_waiting_since > limits.client_timeout:
                self.client_too_slow(f"the client took nothing for {limits.client_timeout:g} s")
        elif self.state is _RECEIVING:
            if late := limits.body_is_late(now, self.started_at, self.active_at, self.body_bytes):
                self.client_too_slow(late)
        elif self.state in (_CONNECTING, _WAITING, _RESPONDING) and (
            now - self.active_at > limits.upstream_timeout
        ):
            message = f"the model server sent no byte for {limits.upstream_timeout:g} s"
            self.upstream_failed(ErrorInfo("upstream_timeout", message), timeout=True)
