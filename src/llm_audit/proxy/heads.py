"""Heads of HTTP messages: framing, hop-by-hop fields, credentials. Pure.

llhttp has parsed (and so validated) a head before it comes here; these are the rules that RFC 9110 and
RFC 9112 leave to the recipient, each stricter than llhttp:

- the request line is METHOD SP target SP HTTP/1.0 or HTTP/1.1, single spaces (RFC 9112 section 3)
- exactly one Host, and the same one in an absolute-form target (RFC 9112 section 3.2)
- Transfer-Encoding is ``chunked`` alone, once, and never in HTTP/1.0 (RFC 9112 section 6.1)
- an expectation other than ``100-continue`` is refused with 417 (RFC 9110 section 10.1.1)
- Upgrade is ignored (RFC 9110 section 7.8), CONNECT refused, a fragment in a target refused

Fields that end at this hop (RFC 9110 section 7.6.1) are not forwarded, in either direction. Credentials are
forwarded or dropped, and their value never reaches the journal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from llm_audit.proxy.gate import CallerHeaders

MAX_HEAD_BYTES: Final = 64 * 1024
MAX_HEADER_FIELDS: Final = 128
REDACTED: Final = b"[redacted]"


class BadRequestError(Exception):
    """The request breaks a rule of HTTP; the connection ends after the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class BadResponseError(Exception):
    """The upstream's response breaks a rule of HTTP."""


@dataclass(slots=True)
class RequestHead:
    """What one pass over a request's head finds out."""

    method: bytes
    target: bytes
    """In origin form, undecoded."""
    path: bytes
    http_minor: int
    content_length: int | None
    chunked: bool
    expects_continue: bool
    keep_alive: bool
    callers: CallerHeaders
    forward_lines: bytes
    """Field lines for upstream, each ended by CRLF: end-to-end ones, without Host and framing."""
    record_lines: bytes
    """All field lines as received, each ended by CRLF, credentials replaced, the gateway's own left out."""


@dataclass(slots=True)
class ResponseHead:
    """What one pass over a response's head finds out."""

    status: int
    reason: bytes
    content_length: int | None
    chunked: bool
    close: bool
    forward_lines: bytes
    """Field lines for the client: end-to-end ones, without framing and ``x-request-id``."""
    record_lines: bytes


# What the pass does with a field, by lower-cased name; a name that is not here is forwarded and recorded.
_HOST, _LENGTH, _CODING, _CONNECTION, _EXPECT, _HOP, _SECRET_FORWARD, _SECRET_DROP, _CALLER, _GATEWAY = range(10)

_REQUEST_FIELDS: Final[dict[bytes, int]] = {
    b"host": _HOST,
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"connection": _CONNECTION,
    b"expect": _EXPECT,
    b"keep-alive": _HOP,
    b"proxy-connection": _HOP,
    b"te": _HOP,
    b"trailer": _HOP,
    b"upgrade": _HOP,
    b"http2-settings": _HOP,
    b"authorization": _SECRET_FORWARD,
    b"cookie": _SECRET_FORWARD,
    b"proxy-authorization": _SECRET_DROP,
    b"x-api-key": _SECRET_DROP,
    b"x-llm-source": _CALLER,
    b"x-llm-user": _CALLER,
    b"x-llm-request-type": _CALLER,
    b"x-request-id": _CALLER,
    b"x-llm-gateway-key-id": _GATEWAY,
    b"x-llm-gateway-secret": _GATEWAY,
    b"x-forwarded-for": _GATEWAY,
}

_RESPONSE_FIELDS: Final[dict[bytes, int]] = {
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"connection": _CONNECTION,
    b"keep-alive": _HOP,
    b"proxy-connection": _HOP,
    b"proxy-authenticate": _HOP,
    b"te": _HOP,
    b"trailer": _HOP,
    b"upgrade": _HOP,
    b"set-cookie": _SECRET_FORWARD,
    b"x-request-id": _CALLER,
}

_HOST_VALUE: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")


def without_upgrade(head: bytes) -> bytes:
    """Give the head without Upgrade fields, which make llhttp leave the body in the stream.

    Java's HttpClient offers ``h2c`` on every plain connection; the offer is ignored, not refused.
    """
    lines = head.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line[:8].lower() == b"upgrade:")


def read_request_head(head: bytes, method: bytes, target: bytes) -> RequestHead:
    """Read a whole head (up to and including the empty line) whose method and target llhttp gave.

    Raises BadRequestError with the status to answer.
    """
    start = len(method) + len(target) + 2
    version = head[start : start + 10]
    if version not in (b"HTTP/1.1\r\n", b"HTTP/1.0\r\n") or not head.startswith(method + b" " + target + b" "):
        raise _bad_request_line(head, method, target)
    http_minor = 1 if version == b"HTTP/1.1\r\n" else 0
    lines = head[start + 10 : -4].split(b"\r\n") if len(head) > start + 12 else []
    if len(lines) > MAX_HEADER_FIELDS:
        raise BadRequestError(431, f"{len(lines)} header fields came; at most {MAX_HEADER_FIELDS} are taken")
    forward: list[bytes] = []
    record: list[bytes] = []
    special: list[tuple[int, bytes, bytes]] = []
    actions = _REQUEST_FIELDS
    for line in lines:
        colon = line.index(b":")
        name = line[:colon].lower()
        action = actions.get(name)
        if action is None:
            forward.append(line)
            record.append(line)
        else:
            value = line[colon + 1 :].strip(b" \t")
            special.append((action, name, value))
            if action >= _SECRET_FORWARD:
                if action == _CALLER:
                    record.append(line)
                    if name != b"x-request-id":
                        forward.append(line)
                elif action != _GATEWAY:
                    record.append(line[: colon + 1] + b" " + REDACTED)
                    if action == _SECRET_FORWARD:
                        forward.append(line)
            else:
                record.append(line)
    return _request_head(method, target, http_minor, special, forward, record)


def _request_head(
    method: bytes,
    target: bytes,
    http_minor: int,
    special: list[tuple[int, bytes, bytes]],
    forward: list[bytes],
    record: list[bytes],
) -> RequestHead:
    host: bytes | None = None
    length: int | None = None
    chunked = expects_continue = False
    connection = b""
    found: dict[bytes, bytes] = {}
    repeated: tuple[bytes, ...] = ()
    for action, name, value in special:
        if action >= _SECRET_FORWARD:
            if name in found:
                repeated += (name,)
            else:
                found[name] = value
        elif action == _HOST:
            if host is not None:
                raise BadRequestError(400, "two Host fields came; exactly one is expected (RFC 9112 section 3.2)")
            host = value
        elif action == _LENGTH:
            length = int(value)
        elif action == _CODING:
            if chunked or value.lower() != b"chunked" or http_minor == 0:
                raise BadRequestError(
                    400, f"Transfer-Encoding {_show(value)} came; only one 'chunked' in HTTP/1.1 is taken"
                )
            chunked = True
        elif action == _CONNECTION:
            connection = connection + b"," + value.lower() if connection else value.lower()
        elif action == _EXPECT:
            if value.lower() != b"100-continue":
                raise BadRequestError(417, f"Expect {_show(value)} came; only '100-continue' is met")
            expects_continue = http_minor == 1
    target = _origin_form(method, target, http_minor, host)
    keep_alive = http_minor == 1
    if connection:
        keep_alive = keep_alive and b"close" not in _tokens(connection)
        forward = _without_nominated(forward, connection)
    get = found.get
    return RequestHead(
        method,
        target,
        target.partition(b"?")[0],
        http_minor,
        length,
        chunked,
        expects_continue,
        keep_alive,
        CallerHeaders(
            get(b"x-llm-source"),
            get(b"x-llm-user"),
            get(b"x-llm-request-type"),
            get(b"x-request-id"),
            get(b"x-api-key"),
            get(b"x-llm-gateway-key-id"),
            get(b"x-llm-gateway-secret"),
            get(b"x-forwarded-for"),
            repeated,
        ),
        _joined(forward),
        _joined(record),
    )


def _joined(lines: list[bytes]) -> bytes:
    if not lines:
        return b""
    lines.append(b"")
    return b"\r\n".join(lines)


def _tokens(connection: bytes) -> set[bytes]:
    return {token.strip(b" \t") for token in connection.split(b",")}


def _without_nominated(lines: list[bytes], connection: bytes) -> list[bytes]:
    """Drop the fields that Connection names as this hop's own (RFC 9110 section 7.6.1)."""
    nominated = _tokens(connection) - {b"close", b"keep-alive", b"upgrade"}
    if not nominated:
        return lines
    return [line for line in lines if line[: line.index(b":")].lower() not in nominated]


def _bad_request_line(head: bytes, method: bytes, target: bytes) -> BadRequestError:
    line = head.partition(b"\r\n")[0]
    if line.startswith(method + b" " + target + b" HTTP/") and line.count(b" ") == 2:
        return BadRequestError(505, f"{_show(line[-8:])} came; HTTP/1.1 and HTTP/1.0 are spoken here")
    return BadRequestError(400, f"request line {_show(line)} came; METHOD, target and version, one space apart")


def _origin_form(method: bytes, target: bytes, http_minor: int, host: bytes | None) -> bytes:
    if host is None:
        if http_minor == 1:
            raise BadRequestError(400, "no Host field came; HTTP/1.1 asks for one (RFC 9112 section 3.2)")
    elif _HOST_VALUE.fullmatch(host) is None:
        raise BadRequestError(400, f"Host {_show(host)} is no host name with an optional port")
    if target[:1] == b"/":
        if b"#" in target:
            raise BadRequestError(400, f"target {_show(target)} holds a fragment, which is never sent")
        return target
    scheme, colon, rest = target.partition(b"://")
    if not colon or scheme.lower() not in (b"http", b"https") or b"#" in target or method == b"CONNECT":
        raise BadRequestError(400, f"target {_show(target)} came; a path such as /v1/chat/completions is expected")
    authority, slash, path = rest.partition(b"/")
    if host is not None and authority.lower() != host.lower():
        raise BadRequestError(
            400, f"target names host {_show(authority)} and Host names {_show(host)}; they must be the same"
        )
    return slash + path if slash else b"/"


def _show(value: bytes) -> str:
    """Quote what came, escaped and cut, for a message."""
    text = value[:128].decode("latin-1")
    return repr(text + ("…" if len(value) > 128 else ""))


def read_response_head(head: bytes, status: int) -> ResponseHead:
    """Read a whole response head (up to and including the empty line) that llhttp has accepted.

    Raises BadResponseError where its framing is ambiguous.
    """
    lines = head[:-4].split(b"\r\n")
    status_line = lines[0]
    forward: list[bytes] = []
    length: int | None = None
    chunked = False
    close = status_line[:8] != b"HTTP/1.1"
    connection = b""
    secret = False
    actions = _RESPONSE_FIELDS
    for index in range(1, len(lines)):
        line = lines[index]
        colon = line.index(b":")
        action = actions.get(line[:colon].lower())
        if action is None:
            forward.append(line)
        elif action == _LENGTH:
            length = int(line[colon + 1 :])
        elif action == _CODING:
            value = line[colon + 1 :].strip(b" \t").lower()
            if chunked or value != b"chunked":
                raise BadResponseError(f"Transfer-Encoding {_show(value)} came; only one 'chunked' is taken")
            chunked = True
        elif action == _CONNECTION:
            connection += line[colon + 1 :].lower() + b","
        elif action == _SECRET_FORWARD:
            forward.append(line)
            lines[index] = line[: colon + 1] + b" " + REDACTED
            secret = True
    if connection:
        close = close or b"close" in _tokens(connection)
        forward = _without_nominated(forward, connection)
    body_at = len(status_line) + 2
    record = b"\r\n".join(lines[1:]) + b"\r\n" if secret else head[body_at:-2]
    return ResponseHead(status, status_line[13:], length, chunked, close, _joined(forward), record)
