"""A small journal segment, the same bytes each time, and what bytes of a fuzzer do to it."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from llm_audit.journal import frames
from llm_audit.journal.files import SegmentName
from llm_audit.journal.frames import LAST, EndFrame, Kind
from llm_audit.journal.model import End, EndedExchange, Opening, RecordSettings
from llm_audit.journal.openings import SegmentOpening, encode_close, encode_open
from llm_audit.journal.reader import WriterReader
from llm_audit.record.schema import IdentitySource, Outcome

MARKER = b"\xf0marker\x0f"
WRITER = "w-00000001"
NAMES = ("ann", "ben", "cat", "dan")
SIZE = 8192

Content = tuple[bytes, tuple[bytes, ...]]
"""A call's request body and the chunks of its response."""


class _Builder:
    """Frames one after another, as the writer puts them."""

    def __init__(self, begun: bytes = frames.encode_file_header(MARKER)) -> None:
        self.data = bytearray(begun)
        self._numbers: dict[int, int] = {}

    def put(self, kind: Kind, payload: bytes, exchange: int = 0, flags: int = 0) -> None:
        number = self._numbers.get(exchange, 0)
        self.data += frames.frame(
            MARKER, kind, payload, at=len(self.data), number=number, exchange=exchange,
            mono_ns=1000 + len(self.data), flags=flags,
        )  # fmt: skip
        if exchange:
            self._numbers[exchange] = number + 1

    def request(self, exchange: int, name: str, body: bytes) -> None:
        start = frames.encode_request_start(
            request_id=name.encode().ljust(16, b"."), started_wall_ns=1_795_000_000_000_000_000, started_mono_ns=900,
            method="POST", target="/v1/chat/completions", header_lines=b"host: a\r\n", client_address="10.0.0.1",
            identity_source=IdentitySource.CLAIMED, key_id=None, source="s", user=name, request_type="t",
        )  # fmt: skip
        self.put(Kind.REQUEST, start + body, exchange, LAST)

    def chunk(self, exchange: int, data: bytes, *, first: bool, last: bool) -> None:
        if first:
            self.put(Kind.RESPONSE, frames.encode_response_start(200, b"a: b\r\n") + data, exchange)
        else:
            self.put(Kind.RESPONSE_BODY, data, exchange, LAST if last else 0)

    def end(self, exchange: int, name: str, sequence: int) -> None:
        end = End(sequence, Outcome.COMPLETE, 200, 1, 2000, None)
        count = self._numbers[exchange] + 1
        payload = frames.encode_end(EndFrame(end, count, name.encode().ljust(16, b".")))
        self.put(Kind.END, payload, exchange)


def _opened() -> bytes:
    """Give a segment's beginning, up to its first exchange."""
    one = _Builder()
    opening = Opening(WRITER, 1, RecordSettings(proxy_version="0"), 1)
    for _ in range(2):
        one.put(Kind.OPEN, encode_open(SegmentOpening(opening, 0)))
    return bytes(one.data)


def _build() -> tuple[bytes, Mapping[str, Content]]:
    one = _Builder(_opened())
    truth: dict[str, Content] = {}
    dice = random.Random(1)
    for exchange, name in enumerate(NAMES, 1):
        # Bodies hold what stood in the file before: frames, copied.
        body = bytes(one.data[-dice.randrange(40, 200) :])
        chunks = tuple(bytes(one.data[64 : 64 + dice.randrange(30, 400)]) for _ in range(exchange))
        truth[name] = (body, chunks)
        one.request(exchange, name, body)
    for index in range(len(NAMES)):
        for exchange, name in enumerate(NAMES, 1):
            if index < len(truth[name][1]):
                one.chunk(exchange, truth[name][1][index], first=index == 0, last=index == exchange - 1)
            if index == exchange - 1:
                one.end(exchange, name, index)
    one.put(Kind.CLOSE, encode_close(len(NAMES)))
    return bytes(one.data.ljust(SIZE, b"\0")), MappingProxyType(truth)


WHOLE, TRUTH = _build()
FILE_NAME = str(SegmentName(1, 0))


def damaged(data: bytes) -> bytes:
    """Do to the segment what the bytes say: set, copy, zero or cut; seven bytes a step."""
    segment = bytearray(WHOLE)
    for step, to, source, length in _steps(data):
        if step == 0:
            segment[to] = length & 0xFF
        elif step == 1:
            segment[to : to + length] = segment[source : source + length]
        elif step == 2:
            segment[to : to + length] = bytes(length)
        else:
            segment[to] ^= 1 << (length & 7)
        segment = segment[:SIZE].ljust(SIZE, b"\0")
    return bytes(segment)


def _steps(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    for at in range(0, len(data) - 6, 7):
        step, *places = data[at : at + 7]
        to, source, length = (places[i] | places[i + 1] << 8 for i in (0, 2, 4))
        yield step & 3, to % SIZE, source % SIZE, length % 1024


def of_frames(data: bytes) -> bytes:
    """Make a segment of frames whose sums are right and whose content is the bytes' own.

    Five bytes say kind, flags, number, exchange and length of each; END and CLOSE frames get a sequence of one byte,
    for reading goes through all that are missing before one.
    """
    one = bytearray(_opened())
    at = 0
    while at + 5 <= len(data):
        kind, flags, number, exchange, length = data[at : at + 5]
        payload = data[at + 5 : at + 5 + length]
        at += 5 + length
        if kind % 8 in {Kind.END, Kind.CLOSE} and len(payload) >= 8:
            payload = payload[:1] + bytes(7) + payload[8:]
        put = frames.frame(
            MARKER, kind % 8, payload, at=len(one), number=number, exchange=exchange, mono_ns=at, flags=flags
        )
        if len(one) + len(put) > SIZE:
            break
        one += put
    return bytes(one.ljust(SIZE, b"\0"))


def read(segment: bytes) -> list[EndedExchange]:
    """Read a directory with this one segment, as the shipper does."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / WRITER
        folder.mkdir()
        (folder / FILE_NAME).write_bytes(segment)
        reader = WriterReader(folder, sync=lambda _: None)
        found: list[EndedExchange] = []
        try:
            while batch := reader.poll():
                found.extend(_with_bodies(ended) for ended in batch)
        finally:
            reader.close()
    return found


def _with_bodies(ended: EndedExchange) -> EndedExchange:
    return ended._replace(request_body=tuple(ended.request_body), chunks=tuple(ended.chunks))


def check(ended: EndedExchange) -> None:
    """See that an exchange that is given as whole is one that was written, byte for byte."""
    if ended.damage is not None:
        return
    assert ended.request is not None
    assert ended.end is not None
    body, chunks = TRUTH[ended.request.user or ""]
    assert b"".join(ended.request_body) == body, "a request that nobody made"
    assert tuple(chunk.data for chunk in ended.chunks) == chunks, "a response that nobody gave"
    assert ended.sequence == NAMES.index(ended.request.user or ""), "another place in the sequence"
