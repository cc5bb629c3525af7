"""Content codings (RFC 9110 section 8.4.1) undone, within bounds: a small body may decode to a huge one."""

from __future__ import annotations

import zlib

DECODED_LIMIT = 64 * 1024 * 1024
"""Bytes of decoded content that are interpreted; what lies past it stays in the record, undecoded."""

_MOST_CODINGS = 3
_MOST_MEMBERS = 64
"""Members of a gzip file that are read: millions of empty ones fit into one body."""


def decode(body: bytes, encoding: str | None) -> bytes | None:
    """Undo the codings of a ``Content-Encoding`` header; None where one is unknown or the body is not in it.

    A body that was cut gives what came; one that decodes to more than ``DECODED_LIMIT`` gives its beginning.
    """
    if not encoding:
        return body
    codings = [coding.strip().lower() for coding in encoding.split(",") if coding.strip()]
    if len(codings) > _MOST_CODINGS:
        return None
    content: bytes | None = body
    for coding in reversed(codings):
        if content is None or coding == "identity":
            continue
        if coding in {"gzip", "x-gzip"}:
            content = _gunzip(content)
        elif coding == "deflate":
            content = _inflate(content)
        else:
            return None
    return content


def _gunzip(body: bytes) -> bytes | None:
    """All members of a gzip file (RFC 1952 section 2.2), one after the other."""
    parts: list[bytes] = []
    room = DECODED_LIMIT
    for _ in range(_MOST_MEMBERS):
        if not body or room <= 0:
            break
        stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            part = stream.decompress(body, room)
        except zlib.error:
            return b"".join(parts) if parts else None
        parts.append(part)
        room -= len(part)
        body = stream.unused_data
    return b"".join(parts)


def _inflate(body: bytes) -> bytes | None:
    """``deflate`` means the zlib format; some senders leave its wrapper out."""
    for wbits in (zlib.MAX_WBITS, -zlib.MAX_WBITS):
        try:
            return zlib.decompressobj(wbits=wbits).decompress(body, DECODED_LIMIT)
        except zlib.error:
            continue
    return None
