"""Captures and hand-made exchanges, brought into the form that ``interpret`` takes."""

from __future__ import annotations

import json
from typing import Any

import orjson

from captures_loader import Capture
from llm_audit.dialects.interpret import Answer, read_request, understand
from llm_audit.dialects.interpretation import Interpretation


def interpret_capture(
    capture: Capture, preview_chars: int = 2048, body: bytes | None = None
) -> Interpretation:
    """Interpret a capture without the safety net of ``interpret``; ``body`` replaces the response's."""
    request, response = capture.request, capture.response
    answer = Answer(None, None, None, b"", None)
    if response is not None:
        answer = Answer(
            capture.status,
            response.header("content-type"),
            response.header("content-encoding"),
            response.body if body is None else body,
            response.header("metadata"),
        )
    content_type, encoding = request.header("content-type"), request.header("content-encoding")
    return understand(
        capture.target, read_request(content_type, encoding, request.body), answer, preview_chars
    )


def encode(value: Any) -> bytes:
    """Write JSON as a careless sender might: NaN, lone surrogates and huge numbers as they come."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def interpret_json(
    path: str, request: Any, reply: Any, status: int | None = 200, preview_chars: int = 2048
) -> Interpretation:
    """Interpret a hand-made reply in one piece; request and reply are JSON, or bytes."""
    answer = Answer(status, "application/json", None, encode(reply), None)
    return understand(path, read_request("application/json", None, encode(request)), answer, preview_chars)


def interpret_stream(path: str, request: Any, body: bytes, preview_chars: int = 2048) -> Interpretation:
    """Interpret a hand-made event stream."""
    answer = Answer(200, "text/event-stream", None, body, None)
    return understand(path, read_request("application/json", None, encode(request)), answer, preview_chars)


def stream_of(*events: Any) -> bytes:
    """Write a stream as vLLM does: JSON events without a name, then ``[DONE]``."""
    return b"".join(b"data: " + encode(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def named_stream_of(*events: dict[str, Any]) -> bytes:
    """Write a stream whose events bear their type as a name, as for responses and Anthropic's messages."""
    return b"".join(
        b"event: " + event["type"].encode() + b"\ndata: " + encode(event) + b"\n\n" for event in events
    )


def check(found: Any, limit: int) -> None:
    """Everything derived can be written, within its bounds."""
    orjson.dumps([[[[found]]]], default=lambda values: values._asdict())
    assert len(found.prompt_preview or "") <= limit
    assert len(found.response_preview or "") <= limit
    assert len(found.finish_reasons) <= 64
    short = [found.operation, found.model.requested, found.model.served, *found.finish_reasons]
    assert all(text is None or 0 < len(text) <= 256 for text in short)
    counts = [getattr(found.usage, name) for name in found.usage._fields]
    assert all(number is None or (type(number) is int and number >= 0) for number in counts)
    if found.error is not None:
        assert 0 < len(found.error.type) <= 256
        assert len(found.error.message) <= 2048
