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


@dataclass(frozen=True, slots=True)
class RequestFields:
    """What the field lines of a request say.

    A client repeats its lines call after call, so these values are remembered by the lines' bytes; the two
    lines that do change, Content-Length and ``x-request-id``, are taken out before where they can be.
    """

    host: bytes | None
    content_length: int | None
    chunked: bool
    expects_continue: bool
    keep_alive: bool
    callers: CallerHeaders
    forward_lines: bytes
    """Field lines for upstream, each ended by CRLF: end-to-end ones, without Host and framing."""
    record_template: bytes
    """All field lines as received, each ended by CRLF, credentials replaced, the gateway's own left out."""


@dataclass(slots=True)
class RequestHead:
    """A request's head, read."""

    method: bytes
    target: bytes
    """In origin form, undecoded."""
    path: bytes
    http_minor: int
    content_length: int | None
    callers: CallerHeaders
    record_lines: bytes
    fields: RequestFields


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


# What becomes of a field, by lower-cased name; one that is not named here is forwarded and recorded.
_PLAIN, _HOST, _LENGTH, _CODING, _CONNECTION, _EXPECT, _HOP = range(7)
_SECRET_FORWARD, _SECRET_DROP, _CALLER, _GATEWAY = range(7, 11)

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
    return b"\r\n".join(line for line in lines if line[:8].lower() != b"upgrade:")


_VERSIONS: Final = {b"HTTP/1.1\r\n": 1, b"HTTP/1.0\r\n": 0}
_LENGTH_MARK, _ID_MARK = b"\0", b"\1"
"""Stand-ins, in remembered lines, for the two lines that change with every call; llhttp lets neither byte in."""

_REMEMBERED: Final[dict[bytes, RequestFields]] = {}
_REMEMBERED_HEADS: Final = 512
_REMEMBERED_BYTES: Final = 4096


def read_request_head(head: bytes, method: bytes, target: bytes) -> RequestHead:
    """Read a whole head (up to and including the empty line) whose method and target llhttp gave.

    Raises BadRequestError with the status to answer.
    """
    start = len(method) + len(target) + 2
    http_minor = _VERSIONS.get(head[start : start + 10])
    if http_minor is None or head[start - 1] != 32 or head[len(method)] != 32:
        raise _bad_request_line(head, method, target)
    # From the version on, its CRLF included: every field line has a CRLF before it.
    block, length_line = _take_line(
        head[start:-4], b"\r\nContent-Length: ", b"\r\ncontent-length: ", _LENGTH_MARK
    )
    block, id_line = _take_line(block, b"\r\nX-Request-Id: ", b"\r\nx-request-id: ", _ID_MARK)
    fields = _REMEMBERED.get(block)
    if fields is None:
        fields = _read_fields(block.split(b"\r\n")[1:], http_minor)
        if len(block) <= _REMEMBERED_BYTES:
            if len(_REMEMBERED) >= _REMEMBERED_HEADS:
                _REMEMBERED.clear()
            _REMEMBERED[block] = fields
    record_lines = fields.record_template
    content_length = fields.content_length
    if length_line:
        content_length = int(length_line[16:])
        record_lines = record_lines.replace(_LENGTH_MARK, length_line, 1)
    callers = fields.callers
    if id_line:
        record_lines = record_lines.replace(_ID_MARK, id_line, 1)
        callers = _with_request_id(callers, id_line[14:])
    if target[:1] != b"/" or b"#" in target:
        target = _origin_form(method, target, fields.host)
    return RequestHead(
        method, target, target.partition(b"?")[0], http_minor, content_length, callers, record_lines, fields
    )


def _take_line(block: bytes, name: bytes, other_spelling: bytes, mark: bytes) -> tuple[bytes, bytes]:
    """Put a mark in the place of a line that changes with every call; answers the line, or nothing.

    Only the two usual spellings are looked for; in another one the line is read like any other.
    """
    at = block.find(name)
    if at < 0:
        at = block.find(other_spelling)
        if at < 0:
            return block, b""
    end = block.find(b"\r\n", at + 2)
    if end < 0:
        end = len(block)
    return block[: at + 2] + mark + block[end:], block[at + 2 : end]


def _with_request_id(callers: CallerHeaders, value: bytes) -> CallerHeaders:
    repeated = callers.repeated if callers.request_id is None else (*callers.repeated, b"x-request-id")
    return callers._replace(request_id=value.strip(b" \t"), repeated=repeated)


def _read_fields(lines: list[bytes], http_minor: int) -> RequestFields:
    if len(lines) > MAX_HEADER_FIELDS:
        raise BadRequestError(431, f"{len(lines)} header fields came; at most {MAX_HEADER_FIELDS} are taken")
    forward: list[bytes] = []
    record: list[bytes] = []
    special: list[tuple[int, bytes, bytes]] = []
    for line in lines:
        if line in (_LENGTH_MARK, _ID_MARK):
            record.append(line)
            continue
        colon = line.index(b":")
        name = line[:colon].lower()
        action = _REQUEST_FIELDS.get(name, _PLAIN)
        if action != _PLAIN:
            special.append((action, name, line[colon + 1 :].strip(b" \t")))
        if action in (_SECRET_FORWARD, _SECRET_DROP):
            record.append(line[: colon + 1] + b" " + REDACTED)
        elif action != _GATEWAY:
            record.append(line)
        if action in (_PLAIN, _SECRET_FORWARD) or (action == _CALLER and name != b"x-request-id"):
            forward.append(line)
    return _fields(special, forward, record, http_minor)


def _fields(
    special: list[tuple[int, bytes, bytes]], forward: list[bytes], record: list[bytes], http_minor: int
) -> RequestFields:
    host: bytes | None = None
    content_length: int | None = None
    chunked = expects_continue = False
    connection = b""
    callers: list[tuple[bytes, bytes]] = []
    for action, name, value in special:
        if action >= _SECRET_FORWARD:
            callers.append((name, value))
        elif action == _HOST:
            host = _only_host(host, value)
        elif action == _LENGTH:
            content_length = int(value)
        elif action == _CODING:
            chunked = _only_chunked(value, chunked=chunked, http_minor=http_minor)
        elif action == _CONNECTION:
            connection += value.lower() + b","
        elif action == _EXPECT:
            expects_continue = _continue_only(value) and http_minor == 1
    if host is None and http_minor == 1:
        raise BadRequestError(400, "no Host field came; HTTP/1.1 asks for one (RFC 9112 section 3.2)")
    keep_alive = http_minor == 1
    if connection:
        keep_alive = keep_alive and b"close" not in _tokens(connection)
        forward = _without_nominated(forward, connection)
    return RequestFields(
        host,
        content_length,
        chunked,
        expects_continue,
        keep_alive,
        _caller_headers(callers),
        _joined(forward),
        _joined(record),
    )


def _caller_headers(fields: list[tuple[bytes, bytes]]) -> CallerHeaders:
    found: dict[bytes, bytes] = {}
    repeated: tuple[bytes, ...] = ()
    for name, value in fields:
        if name in found:
            repeated += (name,)
        found[name] = value
    get = found.get
    return CallerHeaders(
        get(b"x-llm-source"),
        get(b"x-llm-user"),
        get(b"x-llm-request-type"),
        get(b"x-request-id"),
        get(b"x-api-key"),
        get(b"x-llm-gateway-key-id"),
        get(b"x-llm-gateway-secret"),
        get(b"x-forwarded-for"),
        repeated,
    )


def _only_host(host: bytes | None, value: bytes) -> bytes:
    if host is not None:
        raise BadRequestError(400, "two Host fields came; exactly one is expected (RFC 9112 section 3.2)")
    if _HOST_VALUE.fullmatch(value) is None:
        raise BadRequestError(400, f"Host {_show(value)} is no host name with an optional port")
    return value


def _only_chunked(value: bytes, *, chunked: bool, http_minor: int) -> bool:
    if chunked or value.lower() != b"chunked" or http_minor == 0:
        raise BadRequestError(
            400, f"Transfer-Encoding {_show(value)} came; only one 'chunked' in HTTP/1.1 is taken"
        )
    return True


def _continue_only(value: bytes) -> bool:
    if value.lower() != b"100-continue":
        raise BadRequestError(417, f"Expect {_show(value)} came; only '100-continue' is met")
    return True


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
    return BadRequestError(
        400, f"request line {_show(line)} came; METHOD, target and version, one space apart"
    )


def _origin_form(method: bytes, target: bytes, host: bytes | None) -> bytes:
    """Read a target that is not a plain path: absolute-form of the same host is (RFC 9112 section 3.2.2)."""
    if target[:1] == b"/":
        raise BadRequestError(400, f"target {_show(target)} holds a fragment, which is never sent")
    scheme, colon, rest = target.partition(b"://")
    if not colon or scheme.lower() not in (b"http", b"https") or b"#" in target or method == b"CONNECT":
        raise BadRequestError(
            400, f"target {_show(target)} came; a path such as /v1/chat/completions is expected"
        )
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


_REMEMBERED_LINES: Final[dict[bytes, int]] = {}
_REMEMBERED_LINE_COUNT: Final = 2048
_VOLATILE: Final = frozenset({b"date", b"x-request-id", b"content-length"})


def _response_action(line: bytes) -> int:
    """Tell what becomes of a response's field line, and remember it unless it changes with every response."""
    name = line[: line.index(b":")].lower()
    action = _RESPONSE_FIELDS.get(name, _PLAIN)
    if name not in _VOLATILE and len(line) <= 256:
        if len(_REMEMBERED_LINES) >= _REMEMBERED_LINE_COUNT:
            _REMEMBERED_LINES.clear()
        _REMEMBERED_LINES[line] = action
    return action


def read_response_head(head: bytes, status: int) -> ResponseHead:
    """Read a whole response head (up to and including the empty line) that llhttp has accepted.

    Raises BadResponseError where its framing is ambiguous.
    """
    lines = head[:-4].split(b"\r\n")
    status_line = lines[0]
    forward: list[bytes] = []
    special: list[tuple[int, int]] = []
    known = _REMEMBERED_LINES
    for index, line in enumerate(lines):
        if not index:
            continue
        action = known.get(line)
        if action is None:
            action = _response_action(line)
        if action == _PLAIN:
            forward.append(line)
        elif action != _CALLER:
            special.append((index, action))
    length: int | None = None
    chunked = secret = False
    connection = b""
    for index, action in special:
        name, _, value = lines[index].partition(b":")
        if action == _LENGTH:
            length = int(value)
        elif action == _CODING:
            value = value.strip(b" \t").lower()
            if chunked or value != b"chunked":
                raise BadResponseError(f"Transfer-Encoding {_show(value)} came; only one 'chunked' is taken")
            chunked = True
        elif action == _CONNECTION:
            connection += value.lower() + b","
        elif action == _SECRET_FORWARD:
            forward.append(lines[index])
            lines[index] = name + b": " + REDACTED
            secret = True
    close = not status_line.startswith(b"HTTP/1.1")
    if connection:
        close = close or b"close" in _tokens(connection)
        forward = _without_nominated(forward, connection)
    record = _joined(lines[1:]) if secret else head[len(status_line) + 2 : -2]
    return ResponseHead(status, status_line[13:], length, chunked, close, _joined(forward), record)
