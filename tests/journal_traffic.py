"""A real journal writer and small calls through it, for tests of what comes after the journal."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

from llm_audit.journal.frames import encode_request_start, encode_response_start
from llm_audit.journal.model import Durability, RecordSettings
from llm_audit.journal.writer import JournalWriter, OpenExchange
from llm_audit.record.schema import IdentitySource, Outcome

WRITER = "w-0a1b2c3d"
LIMIT = 64 << 20


def fail_loudly(error: Exception) -> None:
    raise error


def open_writer(journal: Path, *, writer: str = WRITER, limit: int = LIMIT, **settings) -> JournalWriter:
    return JournalWriter.open(
        journal / writer,
        settings=RecordSettings(**({"proxy_version": "0.1.0"} | settings)),
        durability=Durability.PROCESS,
        limit_bytes=limit,
        loop=None,
        on_failure=fail_loudly,
    )


def request_body(text: str) -> bytes:
    return b'{"model":"demo","messages":[{"role":"user","content":"%s"}]}' % text.encode()


def response_body(text: str) -> bytes:
    return (
        b'{"model":"demo","choices":[{"index":0,"message":{"role":"assistant","content":"%s"},'
        b'"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}'
        % text.encode()
    )


def begin_call(
    writer: JournalWriter, text: str = "hi", *, request_id: uuid.UUID | None = None, pad: int = 0
) -> OpenExchange:
    """Begin a chat call that says ``text``, its body padded with so many spaces."""
    start = encode_request_start(
        request_id=(request_id or uuid.uuid4()).bytes,
        started_wall_ns=time.time_ns(),
        started_mono_ns=time.monotonic_ns(),
        method="POST",
        target="/v1/chat/completions",
        header_lines=b"content-type: application/json\r\n",
        client_address="127.0.0.1",
        identity_source=IdentitySource.CLAIMED,
        key_id=None,
        source="app",
        user="u1",
        request_type="chat",
    )
    return writer.begin(start, request_body(text) + b" " * pad, last=True)


def end_call(exchange: OpenExchange, text: str = "hello") -> int:
    """Answer and end the call; give its sequence."""
    body = response_body(text)
    start = encode_response_start(200, b"content-type: application/json\r\n")
    exchange.response(start, body, last=True)
    return exchange.end(Outcome.COMPLETE, 200, len(body), None)


def call(writer: JournalWriter, text: str = "hi", **how) -> int:
    """Make one whole call; give its sequence."""
    return end_call(begin_call(writer, text, **how))
