"""What a refused caller is told, and how many refusals are recorded one by one. Pure.

A refusal is a record too, so that nobody can probe the gate unseen. But whoever is refused costs nothing by
asking again, and must not be able to fill the journal: see ``RefusalBudget``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from llm_audit.record.schema import IdentitySource

ERROR_TYPES: dict[int, str] = {
    400: "invalid_request_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    414: "invalid_request_error",
    415: "invalid_request_error",
    417: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    501: "not_implemented_error",
    502: "upstream_error",
    503: "service_unavailable_error",
    504: "upstream_timeout_error",
}
"""The ``type`` of OpenAI's error shape, by status; the statuses are those that the proxy answers by itself."""


class Caller(NamedTuple):
    """Who a call is from, as far as is known: every record of a refusal carries it."""

    request_id: bytes
    """16 bytes; ours where the caller's was missing or no UUID."""
    request_id_text: str
    source: str | None
    user: str | None
    request_type: str | None
    """Each None where the header was unusable."""
    identity_source: IdentitySource
    key_id: str | None
    client_address: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """One call that the proxy answers by itself instead of forwarding it."""

    status: int
    code: str
    """A short fixed word for the reason, such as ``invalid_api_key``: what callers' code and tallies go by."""
    message: str
    """A sentence for people: what came, what was expected, what to do. Holds no secret."""
    caller: Caller
    param: str | None = None
    """The header that is at fault, if one is."""
    headers: tuple[tuple[str, str], ...] = ()
    """Fields that the response carries beside content type, length and request id: ``retry-after``, ``allow``."""

    @property
    def error_type(self) -> str:
        """The ``type`` of OpenAI's error shape."""
        return ERROR_TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")

    def body(self) -> bytes:
        """Give the response's content: ``{"error": {"message", "type", "param", "code"}}`` as JSON."""
        error = {"message": self.message, "type": self.error_type, "param": self.param, "code": self.code}
        return orjson.dumps({"error": error})


@dataclass(frozen=True, slots=True)
class Tally:
    """Refusals of one status and code within one second that are not recorded one by one."""

    status: int
    code: str
    count: int
    since: float
    until: float
    """Times of the first and the last of them, on the clock that ``admit`` was given."""
    samples: tuple[Refusal, ...]
    """The first few of them."""

    def message(self) -> str:
        """Give the sentence that the one record of them all carries as its error."""
        calls = "1 call" if self.count == 1 else f"{self.count:,} calls"
        shown = "; ".join(
            f"{sample.caller.client_address} {sample.caller.source or '-'}: {sample.message}"
            for sample in self.samples
        )
        return f"{calls} refused with {self.status} {self.code} and not recorded one by one, such as {shown}"


@dataclass(slots=True)
class _Count:
    since: float
    until: float
    count: int = 0
    samples: list[Refusal] = field(default_factory=list)


class RefusalBudget:
    """Says of each refusal whether it gets its own record, or is counted with others of its second and reason.

    In each second of the clock that is passed in, the first ``per_second`` refusals are recorded; the others
    are counted by status and code, with the first ``samples`` of each kept. ``drain`` gives what was counted
    in seconds that are over. Memory is bounded by the number of codes, times ``pending_seconds``: if nobody
    drains for longer than that, counts of later seconds join the last tally of their reason.
    """

    def __init__(self, per_second: int = 100, *, samples: int = 5, pending_seconds: int = 60) -> None:
        self._per_second = per_second
        self._samples = samples
        self._pending_seconds = pending_seconds
        self._second = -1
        self._left = per_second
        self._counts: dict[int, dict[tuple[int, str], _Count]] = {}

    def admit(self, now: float, refusal: Refusal) -> bool:
        """Tell whether this refusal is to be recorded by itself (True) or has been counted (False).

        ``now`` is in seconds, of a clock that does not step back (if it does, the second goes on).
        """
        second = int(now)
        if second > self._second:
            self._second = second
            self._left = self._per_second
        if self._left:
            self._left -= 1
            return True
        self.count(now, refusal)
        return False

    def count(self, now: float, refusal: Refusal) -> None:
        """Count a refusal that gets no record of its own."""
        counts = self._counts.get(self._second)
        if counts is None:
            if len(self._counts) < self._pending_seconds:
                counts = self._counts[self._second] = {}
            else:
                counts = self._counts[max(self._counts)]
        reason = (refusal.status, refusal.code)
        count = counts.get(reason)
        if count is None:
            count = counts[reason] = _Count(now, now)
        count.count += 1
        count.until = now
        if len(count.samples) < self._samples:
            count.samples.append(refusal)

    def drain(self, now: float = math.inf) -> list[Tally]:
        """Take the tallies of all seconds that are over at ``now``; of all there are, where none is given."""
        over = [second for second in self._counts if second + 1 <= now]
        return [
            Tally(status, code, count.count, count.since, count.until, tuple(count.samples))
            for second in over
            for (status, code), count in self._counts.pop(second).items()
        ]
