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
_EVENT = b"event: "

WINDOW = 1024 * 1024
"""Bytes, at least, of a body that are taken apart at once."""
_BEFORE_DATA = b"\n\n" + _DATA

Event = tuple[str, bytes]
"""Event name (``message`` where the stream names none) and data, its lines joined by LF."""


def events(body: bytes, window: int = WINDOW) -> Iterator[Event]:
    """Give the events of a stream in order; what has no data line is none, as the standard has it."""
    body = body.removeprefix(_BOM)
    if b"\r" in body:
        body = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    start = 0
    while start < len(body):
        # A blank line ends an event whatever came before it, so that a body may be taken apart there: a window
        # at a time, since a long stream has a hundred thousand events.
        end = body.find(b"\n\n", start + window)
        end = len(body) if end < 0 else end + 2
        yield from _window(body[start:end])
        start = end


def _window(text: bytes) -> list[Event]:
    # Nearly every stream is one data line after the other: so split at once where an event of that kind begins.
    # A piece with a line end in it is something else, and is read block by block.
    first, *others = text.split(_BEFORE_DATA)
    found = _blocks(first)
    for piece in others:
        if b"\n" in piece:
            found += _blocks(_DATA + piece)
        else:
            found.append(("message", piece))
    return found


def _blocks(text: bytes) -> list[Event]:
    return [event for block in text.split(b"\n\n") if block and (event := _event(block))]


def _event(block: bytes) -> Event | None:
    if block.startswith(_EVENT):
        # OpenAI's responses and Anthropic's messages consist of pairs: a line with the name, a line with the data.
        end = block.find(b"\n")
        if block.startswith(_DATA, end + 1) and block.find(b"\n", end + 1) < 0:
            return block[len(_EVENT) : end].decode("utf-8", "replace") or "message", block[
                end + 1 + len(_DATA) :
            ]
    name, data = b"", []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"event":
            name = value.removeprefix(b" ")
        elif field == b"data":
            data.append(value.removeprefix(b" "))
        # ``id`` and ``retry`` steer reconnection; an empty field name is a comment; others are ignored.
    if not data:
        return None
    return name.decode("utf-8", "replace") or "message", b"\n".join(data)
