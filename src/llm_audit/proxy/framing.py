"""Chunks: making one, and where a chunked message can end. Pure.

httptools goes on into the next message within one ``feed_data`` and does not say where it began. A chunked
message ends with an empty line and nowhere else (RFC 9112 section 7.1), so a buffer cut after each empty line
is fed piece by piece: the message then ends at a piece's end, and the bytes after it are untouched.
"""

from __future__ import annotations

from collections.abc import Iterator

LAST_CHUNK = b"0\r\n\r\n"
_EMPTY_LINE = b"\r\n\r\n"


def chunk(before: bytes, body: bytes) -> tuple[bytes, int]:
    """Give ``before`` and a chunk that holds ``body``, and at which offset the body begins."""
    size = b"%x\r\n" % len(body)
    return b"".join((before, size, body, b"\r\n")), len(before) + len(size)


def pieces_at_empty_lines(data: bytes, before: bytes) -> Iterator[tuple[int, int]]:
    """Give (start, end) offsets that cut ``data`` after each CRLF CRLF, ones begun in ``before`` included.

    ``before`` is what came directly before ``data``; its last three bytes matter.
    """
    tail = before[-3:]
    joined = tail + data
    shift = len(tail)
    start = 0
    at = joined.find(_EMPTY_LINE)
    while at >= 0:
        end = at + 4 - shift
        if end > start:
            yield start, end
            start = end
        at = joined.find(_EMPTY_LINE, at + 2)
    if start < len(data):
        yield start, len(data)
