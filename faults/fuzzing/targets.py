"""What must hold for any bytes: a target returns, or raises because it does not hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import h11
import httptools
import orjson

from faults.fuzzing import by_the_book, segment
from llm_audit.dialects.event_stream import events
from llm_audit.dialects.interpret import Answer, read_request, understand
from llm_audit.dialects.interpretation import Interpretation
from llm_audit.dialects.routes import BY_PATH
from llm_audit.journal.model import JournalFormatError
from llm_audit.proxy.fields import MAX_HEAD_BYTES
from llm_audit.proxy.request_head import BadRequestError, RequestHead, read_request_head, without_upgrade

Target = Callable[[bytes], None]


def journal(data: bytes) -> None:
    """However a segment is damaged: reading it ends, gives each sequence once, and forges nothing."""
    try:
        found = segment.read(segment.damaged(data))
    except JournalFormatError:
        return  # its version was damaged, in two of three places: said, and left alone
    for ended in found:
        segment.check(ended)
    whole = [one.request_id for one in found if one.damage is None]
    assert [one.sequence for one in found] == list(range(len(found)))
    assert len(set(whole)) == len(whole)


def frames(data: bytes) -> None:
    """Whatever stands in frames whose sums are right: reading them ends, and gives each sequence once.

    Nobody but a writer makes such frames; a header put right by mistake, or a writer's mistake, must cost one call.
    """
    found = segment.read(segment.of_frames(data))
    assert [one.sequence for one in found] == list(range(len(found)))


def event_stream(data: bytes) -> None:
    """Hold the splitter against the standard, however the body is cut into windows."""
    expected = by_the_book.events(data)
    assert list(events(data)) == expected
    assert list(events(data, 1 + len(data) % 61)) == expected


_PATHS: Final = sorted(BY_PATH)
_TYPES: Final = (
    "application/json",
    "text/event-stream",
    "multipart/form-data; boundary=b",
    None,
    "text/event-stream; charset=utf-8",
)
_ENCODINGS: Final = (None, None, None, "gzip", "deflate", "br", "identity")


def interpret(data: bytes) -> None:
    r"""Interpret any two bodies: they are understood or not; what comes out can be written, within its bounds.

    Three bytes choose path, types and encodings; the rest is the bodies, parted at the first ``\n\r\n``.
    """
    if len(data) < 3:
        return
    path = _PATHS[data[0] % len(_PATHS)] if data[0] < 250 else "/v1/unknown"
    request, _, response = data[3:].partition(b"\n\r\n")
    asked, answered = _TYPES[data[1] % 5], _TYPES[data[1] // 5 % 5]
    encoding = _ENCODINGS[data[2] % 7]
    limit = data[2] // 7
    status = 200 if data[1] < 128 else 400 + data[1] % 128
    answer = Answer(status, answered, encoding, response, None)
    _within_bounds(understand(path, read_request(asked, None, request), answer, limit), limit)


def _within_bounds(found: Interpretation, limit: int) -> None:
    orjson.dumps([found], default=list)  # a usage is a named tuple
    assert len(found.prompt_preview or "") <= limit
    assert len(found.response_preview or "") <= limit
    assert len(found.finish_reasons) <= 64
    short = [found.operation, found.model.requested, found.model.served, *found.finish_reasons]
    assert all(text is None or 0 < len(text) <= 256 for text in short)
    counts = list(found.usage)
    assert all(number is None or (type(number) is int and number >= 0) for number in counts)
    assert found.error is None or (0 < len(found.error.type) <= 256 and len(found.error.message) <= 2048)


class _Heard:
    """What llhttp says of a head."""

    url = b""
    complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_message_complete(self) -> None:
        self.complete = True


def request_head(data: bytes) -> None:
    """Hold a head that the proxy takes against h11: it takes it too, with the same meaning, as one message's."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4 or end > MAX_HEAD_BYTES:
        return
    sent = raw = data[:end]
    if b"pgrade" in raw or b"PGRADE" in raw:  # as the server does
        raw = without_upgrade(raw)
    heard = _Heard()
    parser = httptools.HttpRequestParser(heard)
    try:
        parser.feed_data(raw)
        head = read_request_head(raw, parser.get_method(), heard.url)
    except (BadRequestError, httptools.HttpParserError, httptools.HttpParserUpgrade):
        return
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
    connection.receive_data(sent)
    event = connection.next_event()  # raises where h11 would refuse
    assert isinstance(event, h11.Request)
    _same_meaning(head, event, complete=heard.complete)


def _same_meaning(head: RequestHead, event: h11.Request, *, complete: bool) -> None:
    fields = [(bytes(name), bytes(value)) for name, value in event.headers]
    assert head.method == event.method
    assert event.target == head.target or bytes(event.target).endswith(head.target) or head.target == b"/"
    lengths = [int(value) for name, value in fields if name == b"content-length"]
    assert head.content_length == (lengths[0] if lengths else None)
    assert head.fields.chunked == any(name == b"transfer-encoding" for name, _ in fields)
    assert complete == (not head.fields.chunked and not head.content_length)
    assert head.http_minor == int(event.http_version[-1:])
    lines = [line.partition(b":") for line in head.fields.forward_lines.split(b"\r\n")[:-1]]
    sent = [(name.lower(), value.strip(b" \t")) for name, _, value in lines]
    assert all(one in fields for one in sent), "a field that nobody sent"
    for name in (b"transfer-encoding", b"content-length", b"host", b"connection", b"x-api-key"):
        assert all(name != other for other, _ in sent), "a field that ends at this hop"


TARGETS: Final[Mapping[str, Target]] = {
    "journal": journal,
    "frames": frames,
    "event_stream": event_stream,
    "interpret": interpret,
    "request_head": request_head,
}
"""By name; the files of ``corpus`` and the folders of ``crashes`` have the same."""
