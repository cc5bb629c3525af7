"""Ended exchanges for the shipper's tests, as the journal's reader gives them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from captures_loader import Capture
from llm_audit.journal.model import (
    Chunk,
    End,
    EndedExchange,
    Opening,
    RecordSettings,
    RequestStart,
    ResponseStart,
)
from llm_audit.record.schema import ErrorInfo, IdentitySource, Outcome

WRITER = "w-0a1b2c3d"
STARTED_NS = 1_795_486_253_123_456_789  # 2026-11-24T02:10:53.123456789Z
MONO_NS = 5_000_000_000
MS = 1_000_000
REQUEST_ID = uuid.UUID("0192b3c4-5d6e-7f80-9a1b-2c3d4e5f6071")
REQUEST_BODY = b'{"model":"demo","messages":[{"role":"user","content":"Say hi"}]}'
RESPONSE_BODY = (
    b'{"id":"x","object":"chat.completion","model":"demo-1","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"Hi!"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}'
)


OK = ResponseStart(200, b"content-type: application/json\r\n")


def opening(*, writer: str = WRITER, boot: int = 1, **settings) -> Opening:
    return Opening(
        writer, boot, RecordSettings(**({"proxy_version": "0.1.0"} | settings)), STARTED_NS - 60_000 * MS
    )


def request_start(**changes) -> RequestStart:
    fields = {
        "request_id": REQUEST_ID.bytes,
        "started_wall_ns": STARTED_NS,
        "started_mono_ns": MONO_NS,
        "method": "POST",
        "target": "/v1/chat/completions",
        "header_lines": b"Host: x\r\nContent-Type: application/json\r\nuser-agent: curl/8\r\nx-llm-user:  u1\t\r\n",
        "client_address": "10.0.0.7",
        "identity_source": IdentitySource.CLAIMED,
        "key_id": None,
        "source": "app",
        "user": "u1",
        "request_type": "chat",
    }
    return RequestStart(**(fields | changes))


def ended_exchange(
    *,
    sequence: int = 0,
    outcome: Outcome = Outcome.COMPLETE,
    status: int | None = 200,
    error: ErrorInfo | None = None,
    truncated: bool = False,
    delivered: int | None = None,
    request_body: Sequence[bytes] = (REQUEST_BODY,),
    response: ResponseStart | None = OK,
    chunks: Sequence[Chunk] | None = None,
    opened: Opening | None = None,
    request: RequestStart | None = None,
    ended_ms: float = 250,
) -> EndedExchange:
    """Give a small chat call that went well, or whatever else it is told."""
    request = request or request_start()
    if chunks is None:
        chunks = (Chunk(MONO_NS + 200 * MS, RESPONSE_BODY),) if response else ()
    if delivered is None and outcome is not Outcome.INTERRUPTED:
        delivered = sum(len(chunk.data) for chunk in chunks)
    return EndedExchange(
        opening=opened or opening(),
        sequence=sequence,
        request_id=request.request_id,
        request=request,
        request_body=request_body,
        response=response,
        chunks=chunks,
        end=End(sequence, outcome, status, delivered, int(MONO_NS + ended_ms * MS), error, truncated),
        damage=None,
        damaged_frames=b"",
        segments=frozenset({1}),
    )


def damaged_exchange(
    *,
    sequence: int = 0,
    request: RequestStart | None = None,
    request_id: bytes | None = None,
    end: End | None = None,
    damage: str = "a frame's checksum is wrong",
    frames: bytes = b"\x00broken\xff",
) -> EndedExchange:
    return EndedExchange(
        opening=opening(),
        sequence=sequence,
        request_id=request_id,
        request=request,
        request_body=(),
        response=None,
        chunks=(),
        end=end,
        damage=damage,
        damaged_frames=frames,
        segments=frozenset({1}),
    )


def exchange_of(capture: Capture, *, sequence: int = 0, opened: Opening | None = None) -> EndedExchange:
    """Give a captured exchange as the proxy would have journaled it, one chunk per 100 bytes of body."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in capture.request.headers).encode("latin-1")
    response, chunks = None, []
    if capture.response is not None:
        answered = "".join(f"{name}: {value}\r\n" for name, value in capture.response.headers)
        response = ResponseStart(int(capture.status or 0), answered.encode("latin-1"))
        body = capture.response.body
        chunks = [
            Chunk(MONO_NS + (100 + at // 100) * MS, body[at : at + 100]) for at in range(0, len(body), 100)
        ]
    return ended_exchange(
        sequence=sequence,
        status=capture.status,
        request=request_start(
            request_id=uuid.uuid5(REQUEST_ID, capture.id).bytes,
            method=capture.method,
            target=capture.target,
            header_lines=lines,
        ),
        request_body=(capture.request.body,),
        response=response,
        chunks=chunks,
        opened=opened,
        ended_ms=10_000,
    )
