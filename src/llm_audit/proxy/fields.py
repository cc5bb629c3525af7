"""Field lines of HTTP messages: what this hop does with each, for both directions. Pure.

Fields that end at this hop (RFC 9110 section 7.6.1) are not forwarded, in either direction. Credentials are
forwarded or dropped, and their value never reaches the journal.
"""

from __future__ import annotations

from typing import Final

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_HEADER_FIELDS: Final = 128
REDACTED: Final = b"[redacted]"

# What becomes of a field, by lower-cased name; one that is not named here is forwarded and recorded.
PLAIN, HOST, LENGTH, CODING, CONNECTION, EXPECT, HOP = range(7)
SECRET_FORWARD, SECRET_DROP, CALLER, GATEWAY = range(7, 11)

REQUEST_FIELDS: Final[dict[bytes, int]] = {
    b"host": HOST,
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
    b"connection": CONNECTION,
    b"expect": EXPECT,
    b"keep-alive": HOP,
    b"proxy-connection": HOP,
    b"te": HOP,
    b"trailer": HOP,
    b"upgrade": HOP,
    b"http2-settings": HOP,
    b"authorization": SECRET_FORWARD,
    b"cookie": SECRET_FORWARD,
    b"proxy-authorization": SECRET_DROP,
    b"x-api-key": SECRET_DROP,
    b"x-llm-source": CALLER,
    b"x-llm-user": CALLER,
    b"x-llm-request-type": CALLER,
    b"x-request-id": CALLER,
    b"x-llm-gateway-key-id": GATEWAY,
    b"x-llm-gateway-secret": GATEWAY,
    b"x-forwarded-for": GATEWAY,
}

RESPONSE_FIELDS: Final[dict[bytes, int]] = {
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
    b"connection": CONNECTION,
    b"keep-alive": HOP,
    b"proxy-connection": HOP,
    b"proxy-authenticate": HOP,
    b"te": HOP,
    b"trailer": HOP,
    b"upgrade": HOP,
    b"set-cookie": SECRET_FORWARD,
    b"x-request-id": CALLER,
}


def joined(lines: list[bytes]) -> bytes:
    """Give field lines as bytes, each ended by CRLF."""
    if not lines:
        return b""
    lines.append(b"")
    return b"\r\n".join(lines)


def tokens(connection: bytes) -> set[bytes]:
    """Give the options that a lower-cased Connection field names."""
    return {token.strip(b" \t") for token in connection.split(b",")}


def without_nominated(lines: list[bytes], connection: bytes) -> list[bytes]:
    """Drop the fields that Connection names as this hop's own (RFC 9110 section 7.6.1)."""
    nominated = tokens(connection) - {b"close", b"keep-alive", b"upgrade"}
    if not nominated:
        return lines
    return [line for line in lines if line[: line.index(b":")].lower() not in nominated]


def show(value: bytes) -> str:
    """Quote what came, escaped and cut, for a message."""
    text = value[:128].decode("latin-1")
    return repr(text + ("…" if len(value) > 128 else ""))
