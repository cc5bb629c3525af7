"""How a model server can go wrong: what it sends, byte by byte, and what must come of it. Data only.

A call names its script in its body (``"script":"…"``); ``faults.scripted`` plays it. ``%ID%`` in what is sent stands for
the call's request id, so that an answer which reaches another caller than its own shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple


class Step(Enum):
    """What a script does beside sending bytes."""

    KEEP = "keep"
    """Serve the next request on this connection."""
    CLOSE = "close"
    RESET = "reset"
    STALL = "stall"
    """Say nothing more, and wait for the other side to end the connection."""
    FOREVER = "forever"
    """Send the bytes before this again and again."""
    TRICKLE = "trickle"
    """Send a byte of a header now and then, without end."""
    LATER = "later"
    """Wait until the answer has long been taken."""


class Script(NamedTuple):
    """One way to go wrong."""

    kind: str
    name: str
    steps: tuple[bytes | Step, ...]
    status: int
    """What the client must be told."""
    whole: bool
    """Whether the client must see the message's end."""
    outcome: str
    error: str | None
    """``error.type`` of the record."""


ANSWER = b'{"id":"%ID%","choices":[{"message":{"content":"fine"},"finish_reason":"stop"}]}'
_TYPE = b"content-type: application/json\r\n"
_OK = b"HTTP/1.1 200 OK\r\n" + _TYPE
_EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _sized(body: bytes, length: int | None = None) -> bytes:
    return _OK + b"content-length: %d\r\n\r\n%b" % (len(body) if length is None else length, body)


def _chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


def _event(text: str) -> bytes:
    return b'data: {"id":"%ID%","choices":[{"delta":{"content":"' + text.encode() + b'"}}]}\n\n'


ANSWER_LENGTH = len(ANSWER) - 4 + 36
"""With an id in its place."""
GOOD = _sized(ANSWER, ANSWER_LENGTH)
_EVENT_LENGTH = len(_event("one")) - 4 + 36
FIRST = _EVENTS + b"%x\r\n%b\r\n" % (_EVENT_LENGTH, _event("one"))
"""A stream's head and its first event, as one chunk."""
GOOD_STREAM = (
    FIRST,
    b"%x\r\n%b\r\n" % (_EVENT_LENGTH, _event("two")),
    _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n",
)
EVIL = b'HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{"evil":"%ID%"}'.replace(b"%ID%", b"surplu")

GOOD_BODIES = (
    b'{"model":"m","messages":[{"role":"user","content":"Be good"}],"script":"good"}',
    b'{"model":"m","messages":[{"role":"user","content":"Be good"}],"stream":true,"script":"good-stream"}',
)


def body_for(name: str) -> bytes:
    """Give the request's body that has a script played."""
    return b'{"model":"m","messages":[],"script":"%b"}' % name.encode()


def _refused(kind: str, name: str, *steps: bytes | Step) -> Script:
    """Expect 502: the head cannot be read."""
    return Script(kind, name, steps, 502, True, "upstream_error", "upstream_malformed")


def _cut(kind: str, name: str, *steps: bytes | Step, error: str = "upstream_malformed") -> Script:
    """Expect what came before the fault, without the message's end."""
    return Script(kind, name, steps, 200, False, "upstream_error", error)


def _whole(kind: str, name: str, *steps: bytes | Step, status: int = 200) -> Script:
    return Script(kind, name, steps, status, True, "complete", None)


def _closed(kind: str, name: str, *steps: bytes | Step) -> Script:
    """Expect 502: the connection ends before there is an answer."""
    return Script(kind, name, steps, 502, True, "upstream_error", "upstream_closed")


_RESETS, _STALLS, _HTTP, _CHUNKS, _STREAMS, _ENDLESS, _LONGER, _SHORTER = (
    "resets", "stalls", "malformed HTTP", "malformed chunks", "malformed event streams", "endless framing",
    "a body longer than its length", "a body shorter than its length",
)  # fmt: skip


def _stream_of(name: str, *events: bytes) -> Script:
    """Events that nobody can make sense of are passed on and recorded byte by byte all the same."""
    body = b"".join(events)
    return _whole(_STREAMS, name, _EVENTS + _chunk(body[: len(body) // 2]), _chunk(body[len(body) // 2 :]) + b"0\r\n\r\n", Step.KEEP)  # fmt: skip


_LIST = [
    _closed(_RESETS, "resets before it answers", Step.RESET),
    _closed(_RESETS, "closes before it answers", Step.CLOSE),
    _closed(_RESETS, "resets in its head", _OK + b"content-le", Step.RESET),
    _closed(_RESETS, "closes in its head", _OK + b"content-le", Step.CLOSE),
    _cut(_RESETS, "resets behind its head", _OK + b"content-length: 99\r\n\r\n", Step.RESET, error="upstream_closed"),
    _cut(_RESETS, "closes behind its head", _OK + b"content-length: 99\r\n\r\n", Step.CLOSE, error="upstream_closed"),
    _cut(_RESETS, "resets in a stream", FIRST, Step.RESET, error="upstream_closed"),
    _cut(_RESETS, "closes in a stream", FIRST, Step.CLOSE, error="upstream_closed"),
    _cut(_RESETS, "closes in a chunk", FIRST + b"ff\r\ndata: ", Step.CLOSE, error="upstream_closed"),
    _cut(_RESETS, "closes before the last chunk's end", FIRST + b"0\r\n", Step.CLOSE, error="upstream_closed"),
    _cut(_RESETS, "resets a body that its end delimits", _OK + b"\r\n{", Step.RESET, error="upstream_closed"),
    _whole(_RESETS, "closes where that is the end", _OK + b"\r\n" + ANSWER, Step.CLOSE),
    _whole(_RESETS, "closes unannounced with its answer", GOOD, Step.CLOSE),
    Script(_STALLS, "says nothing", (Step.STALL,), 504, True, "upstream_timeout", "upstream_timeout"),
    Script(_STALLS, "stalls in its head", (_OK, Step.STALL), 504, True, "upstream_timeout", "upstream_timeout"),
    Script(_STALLS, "a byte of its head now and then", (_OK + b"x: ", Step.TRICKLE), 504, True, "upstream_timeout", "upstream_timeout"),
    Script(_STALLS, "stalls behind its head", (_OK + b"content-length: 99\r\n\r\n", Step.STALL), 200, False, "upstream_timeout", "upstream_timeout"),
    Script(_STALLS, "stalls in a stream", (FIRST, Step.STALL), 200, False, "upstream_timeout", "upstream_timeout"),
    _refused(_HTTP, "no HTTP at all", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n", Step.KEEP),
    _refused(_HTTP, "another protocol", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Step.KEEP),
    _refused(_HTTP, "a request for an answer", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", Step.KEEP),
    _refused(_HTTP, "HTTP/2", b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n", Step.KEEP),
    _refused(_HTTP, "an empty line first", b"\r\n" + GOOD, Step.KEEP),
    _refused(_HTTP, "no status", b"HTTP/1.1 OK\r\ncontent-length: 0\r\n\r\n", Step.KEEP),
    _refused(_HTTP, "a status of four digits", b"HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n", Step.KEEP),
    _refused(_HTTP, "a field without a colon", _OK + b"x\r\ncontent-length: 2\r\n\r\n{}", Step.KEEP),
    _refused(_HTTP, "lines that end with LF", GOOD.replace(b"\r\n", b"\n"), Step.KEEP),
    _refused(_HTTP, "two lengths", _OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}", Step.KEEP),
    _refused(_HTTP, "length and chunks", _OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Step.KEEP),
    _refused(_HTTP, "a length below zero", _OK + b"content-length: -2\r\n\r\n{}", Step.KEEP),
    _refused(_HTTP, "a zero byte in a field", _OK + b"x: \0\r\ncontent-length: 2\r\n\r\n{}", Step.KEEP),
    _refused(_HTTP, "an upgrade", b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", Step.KEEP),
    _cut(_CHUNKS, "a size that is none", FIRST + b"zz\r\nabc\r\n0\r\n\r\n", Step.KEEP),
    _cut(_CHUNKS, "a size below zero", FIRST + b"-3\r\nabc\r\n0\r\n\r\n", Step.KEEP),
    _cut(_CHUNKS, "a size past 64 bits", FIRST + b"10000000000000003\r\nabc\r\n0\r\n\r\n", Step.KEEP),
    _cut(_CHUNKS, "no size", FIRST + b"\r\nabc\r\n0\r\n\r\n", Step.KEEP),
    _cut(_CHUNKS, "more than its size", FIRST + b"2\r\nabc\r\n0\r\n\r\n", Step.KEEP),
    _cut(_CHUNKS, "no line end behind a chunk", FIRST + b"3\r\nabc0\r\n\r\n", Step.KEEP),
    _cut(_CHUNKS, "a line that ends with LF", FIRST + b"3\nabc\r\n0\r\n\r\n", Step.KEEP),
    _cut(_CHUNKS, "an answer in the middle of a stream", FIRST + GOOD, Step.KEEP),
    _stream_of("no JSON", b"data: {\n\n", b'data: {"choices":[{"delta"\n\n', b"data: [DONE]\n\n"),
    _stream_of("JSON of another shape", b'data: 7\n\ndata: []\n\ndata: {"choices":7}\n\ndata: {"usage":{"total_tokens":"x"}}\n\n'),
    _stream_of("no UTF-8", b'data: {"choices":[{"delta":{"content":"\xff\xfe\xc3("}}]}\n\n'),
    _stream_of("zero bytes", b"data: \0\0\0\n\n\0\n\n"),
    _stream_of("no end of an event", b'data: {"choices":[]}'),
    _stream_of("no field names", b"\n\n\n: \n\n\r\r\r\n:::\n\ndata\n\n"),
    _stream_of("lines that end with CR", b'data: {"choices":[]}\r\rdata: [DONE]\r\r'),
    _stream_of("a line of 300 kB", b"data: " + b"x" * 300_000 + b"\n\n"),
    _stream_of("JSON of depth 50,000", b"data: " + b"[" * 50_000 + b"]" * 50_000 + b"\n\n"),
    _stream_of("a number of 50,000 digits", b'data: {"usage":{"total_tokens":' + b"9" * 50_000 + b"}}\n\n"),
    _stream_of("JSON that is no stream", b'{"choices":[{"message":{"content":"x"}}]}'),
    _stream_of("events behind the end", b"data: [DONE]\n\n", b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'),
    _refused(_ENDLESS, "fields", _OK, b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 64, Step.FOREVER),
    _refused(_ENDLESS, "one field", _OK + b"x: ", b"y" * 2048, Step.FOREVER),
    _refused(_ENDLESS, "a status line", b"HTTP/1.1 200 ", b"y" * 2048, Step.FOREVER),
    _refused(_ENDLESS, "interim responses", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 32, Step.FOREVER),
    _cut(_ENDLESS, "trailers", FIRST + b"0\r\n", b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 64, Step.FOREVER),
    _cut(_ENDLESS, "a chunk's extension", FIRST + b"3;", b"y" * 2048, Step.FOREVER),
    _whole(_LONGER, "bytes behind its end", GOOD + b"surplus", Step.KEEP),
    _whole(_LONGER, "a whole answer behind its end", GOOD + EVIL, Step.KEEP),
    _whole(_LONGER, "a hundred answers behind its end", GOOD + EVIL * 100, Step.KEEP),
    _whole(_LONGER, "a megabyte behind its end", GOOD + b"x" * 2**20, Step.KEEP),
    _whole(_LONGER, "an answer behind the last chunk", b"".join(GOOD_STREAM) + EVIL, Step.KEEP),
    _whole(_LONGER, "an answer behind what says it closes", GOOD.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") + EVIL, Step.KEEP),
    _whole(_LONGER, "an answer behind a length of 0", _OK + b"content-length: 0\r\n\r\n" + EVIL, Step.KEEP),
    _cut(_SHORTER, "and closes", _OK + b"content-length: 99\r\n\r\n{}", Step.CLOSE, error="upstream_closed"),
    _cut(_SHORTER, "and resets", _OK + b"content-length: 99\r\n\r\n{}", Step.RESET, error="upstream_closed"),
    _cut(_SHORTER, "than 2 to the power of 62", _OK + b"content-length: %d\r\n\r\n{}" % 2**62, Step.CLOSE, error="upstream_closed"),
    Script(_SHORTER, "and stalls", (_OK + b"content-length: 99\r\n\r\n{}", Step.STALL), 200, False, "upstream_timeout", "upstream_timeout"),
]  # fmt: skip

SCRIPTS = {f"{script.kind}: {script.name}": script for script in _LIST}
"""By the name that a call gives."""

SURPLUS_LATER = "surplus while the connection rests"
"""Played on a quiet system only: while its connection carries another call, nobody can tell such bytes from an answer."""

BYTES, CHUNKS = "bytes ", "chunks "
"""What begins a script that is made for a size: an answer of so many bytes, a stream of so many chunks."""

PLAYED: dict[str, tuple[bytes | Step, ...]] = {
    "good": (GOOD, Step.KEEP),
    "good-stream": (*GOOD_STREAM, Step.KEEP),
    SURPLUS_LATER: (GOOD, Step.LATER, EVIL, Step.KEEP),
    **{name: script.steps for name, script in SCRIPTS.items()},
}


def answer_of(size: int) -> Iterator[bytes]:
    """Give an answer with so many bytes of content, piece by piece."""
    yield b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % size
    piece = b"0123456789abcdef" * 4096
    for left in range(size, 0, -len(piece)):
        yield piece[:left]


def stream_of(count: int) -> Iterator[bytes]:
    """Give a stream of so many events, each a chunk, in one piece each."""
    yield _EVENTS
    for number in range(count):
        event = b'data: {"choices":[{"delta":{"content":"%d "}}]}\n\n' % number
        yield b"%x\r\n%b\r\n" % (len(event), event)
    yield _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
