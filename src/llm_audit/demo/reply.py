"""What the demo server sends back: a whole body, or a stream of events. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

FINGERPRINT = "llm-audit-demo"
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that go out in one write, after the time that it takes to generate ``tokens``."""

    data: bytes
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Stamp:
    """What differs between two answers to the same question."""

    request_id: str
    created: int
    """Unix time, whole seconds."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A response: ``pieces`` are events of a stream (sent chunked) or, if not ``stream``, one whole body."""

    status: int
    pieces: Iterable[Piece]
    content_type: str | None = "application/json"
    stream: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    finish: str | None = None
    """Why generation ended (``stop``, ``length``, ``tool_calls``); none where nothing was generated."""
    prompt_tokens: int = 0


def whole(status: int, document: Any, *, tokens: int = 0, **more: Any) -> Reply:
    """Reply with one JSON document, after the time that generating ``tokens`` takes."""
    return Reply(status, (Piece(orjson.dumps(document), tokens),), **more)


def stream(pieces: Iterable[Piece], **more: Any) -> Reply:
    """Reply with server-sent events."""
    return Reply(200, pieces, "text/event-stream; charset=utf-8", stream=True, **more)


def refusal(status: int, message: str, kind: str, param: str | None = None) -> Reply:
    """Refuse in the shape that vLLM uses (``error`` with a numeric ``code``)."""
    return whole(status, {"error": {"message": message, "type": kind, "param": param, "code": status}})


def detail(status: int, message: str, **more: Any) -> Reply:
    """Refuse in the shape that vLLM's web framework uses."""
    return whole(status, {"detail": message}, **more)


def data_event(document: Any, tokens: int = 0) -> Piece:
    """Build an event of OpenAI's chat and completions streams: ``data:`` alone."""
    return Piece(b"data: " + orjson.dumps(document) + b"\n\n", tokens)


def named_event(name: str, document: Any, tokens: int = 0) -> Piece:
    """Build an event of the responses and messages streams: ``event:`` and ``data:``."""
    return Piece(b"event: " + name.encode() + b"\ndata: " + orjson.dumps(document) + b"\n\n", tokens)
