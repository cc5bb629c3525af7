"""What an exchange sees of the world: three ports and its limits. Pure; sockets and files stand behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from llm_audit.record.schema import ErrorInfo, Outcome

if TYPE_CHECKING:
    from llm_audit.proxy.exchange import Exchange


class ClientPort(Protocol):
    """The client's connection, as the exchange needs it."""

    delivered: int
    """Content bytes of this exchange that were handed to the kernel."""

    def write(self, data: bytes, prefix: int, content: int) -> bool:
        """Hand over bytes of which ``content`` follow ``prefix`` ones of framing; True if none had to wait."""

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

    truncated: bool
    """Set where bytes were let through that the journal could not take."""

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


MIN_BODY_RATE: Final = 500
"""Bytes a second that a request's body must bring on the average; far below any line that carries prompts."""


@dataclass(frozen=True, slots=True)
class ExchangeLimits:
    """Seconds after which an exchange is ended (contracts.md, "Environment")."""

    client_timeout: float = 30.0
    upstream_timeout: float = 600.0
    max_duration: float = 3600.0

    def body_is_late(self, now: float, began_at: float, active_at: float, received: int) -> str | None:
        """Say what is too slow about a body that is not whole yet; None while it comes as it should.

        A byte now and then is not enough: whoever sends one a second would hold connection and journal for hours.
        """
        limit = self.client_timeout
        if now - active_at > limit:
            return f"the client sent nothing for {limit:g} s"
        if now - began_at > limit + received / MIN_BODY_RATE:
            return f"{received} bytes of the body came in {now - began_at:.0f} s, less than {MIN_BODY_RATE} a second"
        return None


@dataclass(frozen=True, slots=True)
class ExchangeShell:
    """What an exchange asks of the process around it."""

    connect: Callable[[Exchange], None]
    """Find an upstream connection; answers with ``upstream_ready`` or ``upstream_failed``."""
    when_durable: Callable[[Callable[[], None]], None]
    clock: Callable[[], float]
    """Monotonic seconds."""
    later: Callable[[float, Callable[[], None]], object]
    """Call back after so many seconds."""
    limits: ExchangeLimits
    pass_when_full: bool = False
    """``AUDIT_WHEN_FULL``: whether an exchange goes on, marked, once the journal cannot take a frame of it."""


class NoJournal:
    """The journal port of what is not audited: model lists, health checks, refusals that are only counted."""

    __slots__ = ("truncated",)

    def __init__(self) -> None:
        self.truncated = False

    def request_body(self, data: bytes, *, last: bool) -> None:
        """Keep nothing."""

    def response(self, start: bytes, body: bytes, *, last: bool) -> None:
        """Keep nothing."""

    def response_body(self, data: bytes, *, last: bool) -> None:
        """Keep nothing."""

    def end(
        self,
        outcome: Outcome,  # noqa: ARG002 - as JournalPort
        status_code: int | None,  # noqa: ARG002
        delivered_bytes: int | None,  # noqa: ARG002
        error: ErrorInfo | None,  # noqa: ARG002
    ) -> int:
        """Keep nothing."""
        return -1


class TruncatedJournal(NoJournal):
    """The journal port of an exchange that goes on though the journal could not take a frame of it.

    No frame follows, so that none is missing in the middle; the end is kept, in the room reserved for it.
    """

    __slots__ = ("_journal",)

    def __init__(self, journal: JournalPort) -> None:
        super().__init__()
        journal.truncated = True
        self._journal = journal

    def end(
        self, outcome: Outcome, status_code: int | None, delivered_bytes: int | None, error: ErrorInfo | None
    ) -> int:
        """Append the end, marked as truncated."""
        return self._journal.end(outcome, status_code, delivered_bytes, error)
