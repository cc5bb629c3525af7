"""How large one call is on its way: body, journal, object, item. Measured with the program's own code, not guessed.

The envelopes (headers, members of request and reply, events of a stream) are those of captured exchanges with
vLLM in ``tests/captures``; only the words in them are replaced, to reach the sizes that a model needs.
"""

from __future__ import annotations

import json
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from captures_loader import Capture, Message, capture
from journal_traffic import open_writer
from llm_audit.index.dynamodb_items import row_of, size_of
from llm_audit.index.schema import ItemSettings, item_from_document
from llm_audit.journal.frames import encode_request_start, encode_response_start
from llm_audit.journal.model import Chunk, EndedExchange, RequestStart, ResponseStart
from llm_audit.record.schema import IdentitySource, Outcome
from llm_audit.ship.build import build
from ship_exchanges import exchange_of

PREVIEWS = (0, 256, 512, 1024, 1950, 2048)
"""Values of ``MAX_PREVIEW_CHARS`` that the page compares."""

EVENTS = 100
"""Events of the stream, as in the project's other measurements."""

CAPTURED = (
    "chat-nonstream",
    "chat-stream",
    "chat-tools-required",
    "chat-nonstream-logprobs",
    "completion-nonstream",
    "responses-incomplete-length",
)
"""Real exchanges whose sizes the page shows beside the made ones."""

_SENTENCE = "Please explain why the invoice of last month shows a sum that differs from our books. "
_CALLER = (
    ("x-llm-source", "finance-app"),
    ("x-llm-user", "jane.doe@example.com"),
    ("x-llm-request-type", "summarise"),
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Forwarded-Port", "443"),
    ("X-Forwarded-Proto", "https"),
    ("X-Amzn-Trace-Id", "Root=1-6924a0f1-0123456789abcdef01234567"),
)
"""What a call through the gateway carries besides the captured headers."""


@dataclass(frozen=True, slots=True)
class CallSize:
    """Bytes of one call. ``item`` is by ``MAX_PREVIEW_CHARS``; none of it is compressed."""

    name: str
    what: str
    request: int
    response: int
    """Bodies as they cross the wire, a stream's events included."""
    journal: int
    """All frames of the call."""
    object: int
    item: dict[int, int]

    @property
    def wire(self) -> int:
        """Both bodies."""
        return self.request + self.response


def made_captures() -> dict[str, tuple[str, Capture]]:
    """Give the calls that the page reckons with: by name, what each is and the exchange itself."""
    return {
        "typical": ("a chat call of 2.5 KB, question and answer together", _worded("chat-nonstream", 1_100, 620)),
        "long": ("a prompt of 8 KB, an answer of 3 KB: both previews are full", _worded("chat-nonstream", 8_000, 2_300)),
        "stream": (f"the typical call, streamed in {EVENTS} events", _streamed(1_100, 620)),
        "context": ("a prompt of 200 KB (documents, or a long history), the typical answer", _worded("chat-nonstream", 200_000, 620)),
    }  # fmt: skip


def made_calls() -> dict[str, CallSize]:
    """Give the sizes of those calls, by name."""
    return {name: _measured(name, what, source) for name, (what, source) in made_captures().items()}


def captured_calls() -> tuple[CallSize, ...]:
    """Give the sizes of real exchanges, as they were captured."""
    return tuple(_measured(name, "as captured", capture(name)) for name in CAPTURED)


def typical_record(count: int) -> Iterator[tuple[str, bytes]]:
    """Give so many objects of the typical call, each with its key, for a benchmark to put."""
    exchange = as_journaled(made_captures()["typical"][1])
    request = exchange.request
    assert request is not None
    for number in range(count):
        named = request._replace(request_id=uuid.UUID(int=number).bytes)
        built = build(exchange._replace(request=named, sequence=number), None)
        yield built.key, built.data


def _measured(name: str, what: str, source: Capture) -> CallSize:
    assert source.response is not None
    exchange = as_journaled(source)
    built = build(exchange, "ab" * 32)
    document = json.loads(built.data)
    items = {
        preview: size_of(
            row_of(
                item_from_document(
                    document, "central-llm-audit", built.key, built.sha256,
                    ItemSettings(preview_characters=preview, retention_days=180),
                )
            )
        )
        for preview in PREVIEWS
    }  # fmt: skip
    return CallSize(
        name=name,
        what=what,
        request=len(source.request.body),
        response=len(source.response.body),
        journal=_journal_bytes(exchange),
        object=len(built.data),
        item=items,
    )


def as_journaled(source: Capture) -> EndedExchange:
    """Give an exchange as the shipper reads it: through the gateway, a stream's events ten milliseconds apart."""
    assert source.response is not None
    exchange = _through_the_gateway(exchange_of(source))
    first = exchange.chunks[0].mono_ns
    pieces = enumerate(_pieces(source.response))
    return exchange._replace(
        chunks=tuple(Chunk(first + number * 10_000_000, piece) for number, piece in pieces)
    )


def _through_the_gateway(exchange: EndedExchange) -> EndedExchange:
    """Give the exchange as a caller behind API Gateway would have made it."""
    request = exchange.request
    assert request is not None
    more = "".join(f"{name}: {value}\r\n" for name, value in _CALLER).encode()
    values = dict(_CALLER)
    return exchange._replace(
        request=request._replace(
            header_lines=request.header_lines + more,
            client_address="203.0.113.7",
            identity_source=IdentitySource.GATEWAY,
            key_id="a1b2c3d4e5",
            source=values["x-llm-source"],
            user=values["x-llm-user"],
            request_type=values["x-llm-request-type"],
        )
    )


def _journal_bytes(exchange: EndedExchange) -> int:
    """Write the exchange into a real journal, chunk by chunk; give the bytes of its frames."""
    request, response, pieces = exchange.request, exchange.response, [chunk.data for chunk in exchange.chunks]
    assert request is not None
    assert response is not None
    with tempfile.TemporaryDirectory() as folder:
        writer = open_writer(Path(folder), limit=8 << 20)
        _, before = writer.position()
        opened = writer.begin(_encoded(request), b"".join(exchange.request_body), last=True)
        opened.response(_head(response), pieces[0], last=len(pieces) == 1)
        for number, piece in enumerate(pieces[1:], 2):
            opened.response_body(piece, last=number == len(pieces))
        opened.end(Outcome.COMPLETE, response.status, sum(map(len, pieces)), None)
        _, after = writer.position()
        writer.close()
    return after - before


def _encoded(request: RequestStart) -> bytes:
    return encode_request_start(**request._asdict())


def _head(response: ResponseStart) -> bytes:
    return encode_response_start(response.status, response.header_lines)


def _pieces(response: Message) -> tuple[bytes, ...]:
    """Give a stream event by event, and anything else in one piece."""
    kind = response.header("content-type") or ""
    if not kind.startswith("text/event-stream"):
        return (response.body,)
    return tuple(event + b"\n\n" for event in response.body.split(b"\n\n") if event)


def _words(size: int) -> str:
    return (_SENTENCE * (size // len(_SENTENCE) + 1))[:size]


def _worded(name: str, prompt: int, answer: int) -> Capture:
    """Give a captured exchange with other words: so many characters asked, so many answered."""
    source = capture(name)
    assert source.response is not None
    body = json.loads(source.response.body)
    body["choices"][0]["message"]["content"] = _words(answer)
    return _with_bodies(source, _asked(source, prompt), _compact(body))


def _streamed(prompt: int, answer: int) -> Capture:
    """Give the captured stream with so many events that say the answer, between its own first and last ones."""
    source = capture("chat-stream")
    assert source.response is not None
    first, template, *_, last, done = source.response.body.removesuffix(b"\n\n").split(b"\n\n")
    event = json.loads(template.removeprefix(b"data: "))
    words, step = _words(answer), -(-answer // EVENTS)
    events = []
    for at in range(0, answer, step):
        event["choices"][0]["delta"]["content"] = words[at : at + step]
        events.append(b"data: " + _compact(event))
    return _with_bodies(source, _asked(source, prompt), b"\n\n".join((first, *events, last, done, b"")))


def _asked(source: Capture, prompt: int) -> bytes:
    body: dict[str, Any] = json.loads(source.request.body)
    body["messages"][-1]["content"] = _words(prompt)
    return json.dumps(body).encode()


def _with_bodies(source: Capture, asked: bytes, answered: bytes) -> Capture:
    assert source.response is not None
    return replace(
        source,
        request=replace(source.request, body=asked),
        response=replace(source.response, body=answered),
    )


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
