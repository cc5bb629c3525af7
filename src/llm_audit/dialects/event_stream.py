"""Server-sent events, as the WHATWG HTML standard reads them ("Parsing an event stream", section 9.2.6).

Lines end at CRLF, LF or CR and nowhere else: U+2028, U+2029 and U+0085 are text, which is why nothing here may
use ``str.splitlines``. Comments (vLLM's ``: keep-alive``) may stand anywhere. A body is read whole: it is on
record before anybody interprets it.

One thing is read more leniently than the standard: an event that the stream's end cut short is still given.
A browser drops it; evidence should not, and a JSON document that was cut never parses by accident.
"""

from __future__ import annotations

from collections.abc import Iterator

_BOM = b"\xef\xbb\xbf"
_DATA = b"data: "

Event = tuple[str, bytes]
"""Event name (``message`` where the stream names none) and data, its lines joined by LF."""


def events(body: bytes) -> Iterator[Event]:
    """Give the events of a stream in order; events without data are none, as the standard has it."""
    body = body.removeprefix(_BOM)
    if b"\r" in body:
        body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for block in body.split(b"\n\n"):
        # Nearly every event of nearly every stream is one data line.
        if block.startswith(_DATA) and b"\n" not in block:
            if len(block) > len(_DATA):
                yield "message", block[len(_DATA) :]
            continue
        event = _event(block)
        if event is not None:
            yield event


def _event(block: bytes) -> Event | None:
    name, data = b"", []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
        # ``id`` and ``retry`` steer reconnection; an empty field name is a comment; others are ignored.
    joined = b"\n".join(data)
    if not joined:
        return None
    return name.decode("utf-8", "replace") or "message", joined
