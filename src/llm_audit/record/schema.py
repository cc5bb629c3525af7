"""The audit record: what is kept of one exchange, frozen.

Field names are the Python spelling of the object's camelCase members (``requestId`` is ``request_id``);
their order here is their order in the object. Everything but the two bodies comes first, so that a reader
can stop early (see ``encoding``). Times are UTC; durations are whole milliseconds of a monotonic clock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

SCHEMA_VERSION = 1
"""Raised when a member changes its meaning; adding one does not raise it."""

DERIVED_STRING_LIMIT = 256
"""Characters kept of any string derived from a body (model, operation, error type) in items and labels."""


class Outcome(StrEnum):
    """How an exchange ended; the earliest event wins."""

    COMPLETE = "complete"
    CLIENT_DISCONNECTED = "client_disconnected"
    UPSTREAM_ERROR = "upstream_error"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    REJECTED = "rejected"
    INTERRUPTED = "interrupted"


class IdentitySource(StrEnum):
    """Who vouches for the caller's identity."""

    CLAIMED = "claimed"
    KEY = "key"
    GATEWAY = "gateway"


class Identity(NamedTuple):
    """Who says that the caller is who it claims to be, and by which key."""

    source: IdentitySource
    key_id: str | None = None


class ErrorInfo(NamedTuple):
    """What went wrong, in the words of whoever reported it (the proxy, or the model server)."""

    type: str
    message: str


class ModelNames(NamedTuple):
    """``gen_ai.request.model`` and ``gen_ai.response.model``."""

    requested: str | None = None
    served: str | None = None


class Usage(NamedTuple):
    """Tokens as the model server counted them; None where it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    cached_input_tokens: int | None = None
    reasoning_tokens: int | None = None


class Client(NamedTuple):
    """The calling machine: address as seen (or as the gateway vouches), and its user agent."""

    address: str | None
    user_agent: str | None


class WriterPosition(NamedTuple):
    """Where the record stands in its writer's chain: gapless sequence, digest of the record before."""

    id: str
    boot: int
    sequence: int
    previous_sha256: str | None


Headers = tuple[tuple[str, str], ...]
"""Header fields as received, in order; credentials replaced; bytes above 0x7F as latin-1."""


class RequestPart(NamedTuple):
    """The request as it came: ``body`` is exact, after transfer decoding, before content decoding.

    ``body`` is None where ``AUDIT_CONTENT`` or a refusal keeps it out; ``sha256`` and ``byte_count`` always
    speak of the whole content that was received.
    """

    method: str | None
    path: str | None
    query: str | None
    headers: Headers
    content_type: str | None
    byte_count: int
    sha256: str
    body: bytes | None


class ResponsePart(NamedTuple):
    """The response as it came from upstream (or from the proxy, where it refused)."""

    headers: Headers
    content_type: str | None
    byte_count: int
    delivered_bytes: int | None
    sha256: str
    assembled: dict[str, Any] | None
    body: bytes | None


class Record(NamedTuple):
    """One exchange, complete."""

    request_id: str
    source: str | None
    user: str | None
    request_type: str | None
    identity: Identity
    started_at_ms: int
    """Milliseconds since 1970-01-01T00:00:00Z at the request's first byte."""
    latency_ms: int
    """First byte of the request to end of the exchange."""
    time_to_first_chunk_ms: int | None
    """First byte of the request to the response's first body byte."""
    chunk_times_ms: tuple[int, ...]
    """Offset from ``started_at_ms`` of each body chunk, as received from upstream."""
    outcome: Outcome
    status_code: int | None
    """What the client was sent; None where it was sent nothing."""
    error: ErrorInfo | None
    operation: str | None
    """``gen_ai.operation.name``."""
    model: ModelNames
    usage: Usage
    finish_reasons: tuple[str, ...]
    stream: bool
    prompt_preview: str | None
    response_preview: str | None
    client: Client
    writer: WriterPosition
    proxy_version: str
    request: RequestPart
    response: ResponsePart | None
    """None where no response head ever came."""
