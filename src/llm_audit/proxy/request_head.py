"""Heads of requests: framing, caller fields, credentials. Pure.

Where a recipient may choose, the proxy refuses, so that no two parsers can read one message differently. This is
the whole list of what it refuses and h11 would take (``tests/proxy/test_h11_oracle.py`` holds it to that).

llhttp, strict as it comes, refuses:

- a method that it does not know, or not in capitals (RFC 9110 section 9.1)
- a line that ends with LF alone, a CR within a line (RFC 9112 section 2.2)
- a field line that is continued on the next, white space before the colon (RFC 9112 sections 5.1, 5.2)
- Content-Length twice, or as a list, even of equal numbers (RFC 9112 section 6.3, rule 5)
- Content-Length beside Transfer-Encoding (RFC 9112 section 6.1)
- control characters in the extension of a chunk, white space around it; CRLF is all that may end a chunk (RFC 9112
  sections 7.1, 7.1.1)

Refused here, and by the server before (``server.py``):

- an empty line before the request line (RFC 9112 section 2.2)
- a request line other than METHOD SP target SP HTTP/1.0 or HTTP/1.1, single spaces (RFC 9112 section 3)
- no Host in HTTP/1.1, two, or one that is no host name with an optional port (RFC 9112 section 3.2)
- an absolute-form target with another authority than Host (RFC 9112 section 3.2.2), with none or with userinfo
  (RFC 9110 sections 4.2.1, 4.2.4), any other target that is no path, a fragment in a target (RFC 9110 section 7.1), CONNECT (RFC 9110 section 9.3.6)
- Transfer-Encoding other than ``chunked`` alone, once, or in HTTP/1.0 (RFC 9112 section 6.1): 501 where chunks hold
  another coding, which could be read but not understood
- an expectation other than ``100-continue``: 417 (RFC 9110 section 10.1.1)
- a head of more than 64 KiB or 128 fields: 431 (RFC 6585 section 5), 414 if its first line alone is as long
  (RFC 9112 section 3); a body past its limit: 413
- chunk extensions and trailers that outweigh the body by far (RFC 9112 section 7.1.1)

Upgrade is ignored, not refused (RFC 9110 section 7.8).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from llm_audit.proxy import fields
from llm_audit.proxy.gate import CallerHeaders


class BadRequestError(Exception):
    """The request breaks a rule of HTTP; the connection ends after the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


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


_UPGRADE_LINE: Final = re.compile(rb"(?i:upgrade):[\t\x20-\x7e\x80-\xff]*")
_HOST_VALUE: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")


def is_hopeless(head: bytes | bytearray) -> bool:
    """Tell whether no head can come of this: it does not begin with a method, or its lines end without CR."""
    return not head[:1].isupper() or b"\n\n" in head or b"\n\r\n" in head


def head_too_large(head: bytes) -> BadRequestError:
    """Say what of a head is too large: its first line (the target, then), or all its fields together."""
    if len(head.partition(b"\n")[0]) > fields.MAX_HEAD_BYTES:
        return BadRequestError(
            414, f"a target of more than {fields.MAX_HEAD_BYTES} bytes came; none is so long"
        )
    return BadRequestError(
        431, f"the head is larger than {fields.MAX_HEAD_BYTES} bytes, which is the most taken"
    )


def without_upgrade(head: bytes) -> bytes:
    """Give the head without Upgrade fields, which make llhttp leave the body in the stream.

    Java's HttpClient offers ``h2c`` on every plain connection; the offer is ignored, not refused. A line that is no
    valid field stays, for llhttp to refuse: a lone LF in it could hide another field from us alone.
    """
    return b"\r\n".join(line for line in head.split(b"\r\n") if _UPGRADE_LINE.fullmatch(line) is None)


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
    known = _REMEMBERED.get(block)
    if known is None:
        known = _read_fields(block.split(b"\r\n")[1:], http_minor)
        if len(block) <= _REMEMBERED_BYTES:
            if len(_REMEMBERED) >= _REMEMBERED_HEADS:
                _REMEMBERED.clear()
            _REMEMBERED[block] = known
    record_lines = known.record_template
    content_length = known.content_length
    if length_line:
        content_length = int(length_line[16:])
        record_lines = record_lines.replace(_LENGTH_MARK, length_line, 1)
    callers = known.callers
    if id_line:
        record_lines = record_lines.replace(_ID_MARK, id_line, 1)
        callers = _with_request_id(callers, id_line[14:])
    if target[:1] != b"/" or b"#" in target:
        target = _origin_form(method, target, known.host)
    return RequestHead(
        method, target, target.partition(b"?")[0], http_minor, content_length, callers, record_lines, known
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
    if len(lines) > fields.MAX_HEADER_FIELDS:
        raise BadRequestError(
            431, f"{len(lines)} header fields came; at most {fields.MAX_HEADER_FIELDS} are taken"
        )
    forward: list[bytes] = []
    record: list[bytes] = []
    special: list[tuple[int, bytes, bytes]] = []
    for line in lines:
        if line in (_LENGTH_MARK, _ID_MARK):
            record.append(line)
            continue
        colon = line.index(b":")
        name = line[:colon].lower()
        action = fields.REQUEST_FIELDS.get(name, fields.PLAIN)
        if action != fields.PLAIN:
            special.append((action, name, line[colon + 1 :].strip(b" \t")))
        if action in (fields.SECRET_FORWARD, fields.SECRET_DROP):
            record.append(line[: colon + 1] + b" " + fields.REDACTED)
        elif action != fields.GATEWAY:
            record.append(line)
        if action in (fields.PLAIN, fields.SECRET_FORWARD) or (
            action == fields.CALLER and name != b"x-request-id"
        ):
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
        if action >= fields.SECRET_FORWARD:
            callers.append((name, value))
        elif action == fields.HOST:
            host = _only_host(host, value)
        elif action == fields.LENGTH:
            content_length = int(value)
        elif action == fields.CODING:
            chunked = _only_chunked(value, chunked=chunked, http_minor=http_minor)
        elif action == fields.CONNECTION:
            connection += value.lower() + b","
        elif action == fields.EXPECT:
            expects_continue = _continue_only(value) and http_minor == 1
    if host is None and http_minor == 1:
        raise BadRequestError(400, "no Host field came; HTTP/1.1 asks for one (RFC 9112 section 3.2)")
    keep_alive = http_minor == 1
    if connection:
        keep_alive = keep_alive and b"close" not in fields.tokens(connection)
        forward = fields.without_nominated(forward, connection)
    return RequestFields(
        host,
        content_length,
        chunked,
        expects_continue,
        keep_alive,
        _caller_headers(callers),
        fields.joined(forward),
        fields.joined(record),
    )


def _caller_headers(found_fields: list[tuple[bytes, bytes]]) -> CallerHeaders:
    found: dict[bytes, bytes] = {}
    repeated: tuple[bytes, ...] = ()
    for name, value in found_fields:
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
        raise BadRequestError(400, f"Host {fields.show(value)} is no host name with an optional port")
    return value


def _only_chunked(value: bytes, *, chunked: bool, http_minor: int) -> bool:
    codings = [coding.strip(b" \t") for coding in value.lower().split(b",")]
    if codings[-1] == b"chunked" and codings.count(b"chunked") == 1 < len(codings) and http_minor:
        raise BadRequestError(
            501, f"Transfer-Encoding {fields.show(value)} came; of all codings, only 'chunked' is understood"
        )
    if chunked or value.lower() != b"chunked" or http_minor == 0:
        raise BadRequestError(
            400, f"Transfer-Encoding {fields.show(value)} came; only one 'chunked' in HTTP/1.1 is taken"
        )
    return True


def _continue_only(value: bytes) -> bool:
    if value.lower() != b"100-continue":
        raise BadRequestError(417, f"Expect {fields.show(value)} came; only '100-continue' is met")
    return True


def _bad_request_line(head: bytes, method: bytes, target: bytes) -> BadRequestError:
    line = head.partition(b"\r\n")[0]
    if line.startswith(method + b" " + target + b" HTTP/") and line.count(b" ") == 2:
        return BadRequestError(505, f"{fields.show(line[-8:])} came; HTTP/1.1 and HTTP/1.0 are spoken here")
    return BadRequestError(
        400, f"request line {fields.show(line)} came; METHOD, target and version, one space apart"
    )


def _origin_form(method: bytes, target: bytes, host: bytes | None) -> bytes:
    """Read a target that is not a plain path: absolute-form of the same host is (RFC 9112 section 3.2.2)."""
    if target[:1] == b"/":
        raise BadRequestError(400, f"target {fields.show(target)} holds a fragment, which is never sent")
    scheme, colon, rest = target.partition(b"://")
    if not colon or scheme.lower() not in (b"http", b"https") or b"#" in target or method == b"CONNECT":
        raise BadRequestError(
            400, f"target {fields.show(target)} came; a path such as /v1/chat/completions is expected"
        )
    authority, slash, path = rest.partition(b"/")
    if not authority or _HOST_VALUE.fullmatch(authority) is None:
        raise BadRequestError(400, f"target {fields.show(target)} names no host with an optional port")
    if host is not None and authority.lower() != host.lower():
        raise BadRequestError(
            400,
            f"target names host {fields.show(authority)} and Host names {fields.show(host)}; they must be the same",
        )
    return slash + path if slash else b"/"
