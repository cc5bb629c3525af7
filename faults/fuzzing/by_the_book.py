"""An event stream read as the standard says it, a byte at a time: the oracle of ``dialects/event_stream.py``."""

from __future__ import annotations


def lines(body: bytes) -> list[bytes]:
    """Part at LF, CR and CRLF; the last line ends with the stream."""
    found, line, skip_lf = [], bytearray(), False
    for byte in body:
        if byte == 0x0A and skip_lf:
            skip_lf = False
            continue
        skip_lf = byte == 0x0D
        if byte in {0x0A, 0x0D}:
            found.append(bytes(line))
            line = bytearray()
        else:
            line.append(byte)
    return [*found, bytes(line)]


def events(body: bytes) -> list[tuple[str, bytes]]:
    """Follow WHATWG HTML 9.2.6 step by step; but the end of the stream ends the last event too."""
    found: list[tuple[str, bytes]] = []
    name, data = b"", bytearray()
    for one in [*lines(body[3:] if body[:3] == b"\xef\xbb\xbf" else body), b""]:
        if one == b"":
            if data:
                found.append((name.decode("utf-8", "replace") or "message", bytes(data[:-1])))
            name, data = b"", bytearray()
        at = one.find(b":")
        field, value = (one, b"") if at < 0 else (one[:at], one[at + 1 :])
        if value[:1] == b" ":
            value = value[1:]
        if field == b"event":
            name = value
        elif field == b"data":
            data += value + b"\n"
    return found
