"""What a refused caller is told, and how many refusals are recorded one by one. Pure.

A refusal is a record too, so that nobody can probe the gate unseen. But whoever is refused costs nothing by
asking again, and must not be able to fill the journal: see ``RefusalBudget``.
"""

from __future__ import annotations

from dataclasses import dataclass
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

    def sample(self) -> str:
        """Give the line that stands for it among the samples of refusals that are only counted."""
        return f"{self.caller.client_address} {self.caller.source or '-'}: {self.message}"


class RefusalBudget:
    """Says of each refusal whether it gets a record of its own, or is to be counted with others of its reason.

    In each second of the clock that is passed in, the first ``per_second`` get one.
    """

    def __init__(self, per_second: int = 100) -> None:
        self._per_second = per_second
        self._second = -1
        self._left = per_second

    def admit(self, now: float) -> bool:
        """Tell whether a refusal at this time is to be recorded by itself.

        ``now`` is in seconds, of a clock that does not step back (if it does, the second goes on).
        """
        second = int(now)
        if second > self._second:
            self._second = second
            self._left = self._per_second
        if self._left:
            self._left -= 1
            return True
        return False
