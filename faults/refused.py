"""Every kind of refusal: what is sent, what must be answered, and whether the connection may go on. Data only."""

from __future__ import annotations

from typing import NamedTuple

from faults.clients import SOURCE

LIMIT = 64 * 1024
"""``AUDIT_MAX_BODY_BYTES`` of the system that these are sent to."""


class Refused(NamedTuple):
    """One request that must be refused."""

    name: str
    line: bytes
    fields: tuple[bytes, ...]
    body: bytes
    status: int
    code: str
    goes_on: bool
    """The connection serves the next request; otherwise it must be ended."""


_LINE = b"POST /v1/chat/completions HTTP/1.1"
_CALLER = (b"x-llm-source: " + SOURCE.encode(), b"x-llm-user: u", b"x-llm-request-type: t")
_KEY = b"x-api-key: %KEY%"
_ID = b"x-request-id: %ID%"
_GOOD = (*_CALLER, _KEY, _ID)


def _without(name: bytes) -> tuple[bytes, ...]:
    return tuple(one for one in _GOOD if not one.startswith(name))


def _gate(
    name: str, status: int, code: str, fields: tuple[bytes, ...] = _GOOD, line: bytes = _LINE
) -> Refused:
    return Refused(name, line, fields, b"{}", status, code, goes_on=True)


def _unread(name: str, status: int, *extra: bytes, line: bytes = _LINE, body: bytes = b"{}") -> Refused:
    return Refused(name, line, (*_GOOD, *extra), body, status, "bad_request", goes_on=False)


_PLACE = b"x-llm-user: "
REFUSED = [
    _gate("a path that is not on the list", 404, "unknown_path", line=b"POST /v1/nothing HTTP/1.1"),
    _gate("an administrative path", 404, "unknown_path", line=b"POST /sleep HTTP/1.1"),
    _gate("a path that is spelled otherwise", 404, "unknown_path", line=b"POST /v1//chat/completions HTTP/1.1"),
    _gate("another method", 405, "method_not_allowed", line=b"GET /v1/chat/completions HTTP/1.1"),
    _gate("the websocket", 501, "not_implemented", line=b"GET /v1/realtime HTTP/1.1"),
    _gate("no source", 400, "missing_header", _without(b"x-llm-source")),
    _gate("no user", 400, "missing_header", _without(b"x-llm-user")),
    _gate("no request type", 400, "missing_header", _without(b"x-llm-request-type")),
    _gate("no name at all", 400, "missing_header", (_KEY, _ID)),
    _gate("a placeholder for a user", 400, "invalid_header", (*_without(b"x-llm-user"), _PLACE + b"${user}")),
    _gate("a user too long", 400, "invalid_header", (*_without(b"x-llm-user"), _PLACE + b"u" * 257)),
    _gate("a user that is no UTF-8", 400, "invalid_header", (*_without(b"x-llm-user"), _PLACE + b"\xff")),
    _gate("two users", 400, "invalid_header", (*_GOOD, b"x-llm-user: v")),
    _gate("a request id that is no UUID", 400, "invalid_request_id", (*_CALLER, _KEY, b"x-request-id: 7")),
    _gate("no key", 403, "missing_api_key", _without(b"x-api-key")),
    _gate("an unknown key", 403, "invalid_api_key", (*_CALLER, b"x-api-key: nobody", _ID)),
    _gate("a disabled key", 403, "disabled_api_key", (*_CALLER, b"x-api-key: %DISABLED%", _ID)),
    _gate("a key of another source", 403, "source_not_allowed", (*_CALLER, b"x-api-key: %OTHER%", _ID)),
    _gate("a rate that is passed", 429, "rate_limit_exceeded", (*_CALLER, b"x-api-key: %SLOW%", _ID)),
    _gate("a quota that is used up", 429, "quota_exceeded", (*_CALLER, b"x-api-key: %USED%", _ID)),
    Refused("a path, its body in chunks", b"POST /v1/nothing HTTP/1.1", (*_GOOD, b"transfer-encoding: chunked"), b"2\r\n{}\r\n0\r\n\r\n", 404, "unknown_path", goes_on=True),
    Refused("a path, its body not yet sent", b"POST /v1/nothing HTTP/1.1", (*_GOOD, b"content-length: 9"), b"{}", 404, "unknown_path", goes_on=False),
    Refused("a path, in HTTP/1.0", b"POST /v1/nothing HTTP/1.0", _GOOD, b"{}", 404, "unknown_path", goes_on=False),
    Refused("a path, by one who closes", b"POST /v1/nothing HTTP/1.1", (*_GOOD, b"connection: close"), b"{}", 404, "unknown_path", goes_on=False),
    Refused("a body too large, announced", _LINE, (*_GOOD, b"content-length: %d" % (LIMIT + 1)), b"{}", 413, "body_too_large", goes_on=False),
    _unread("a body too large, in chunks", 413, b"transfer-encoding: chunked", body=b"%x\r\n%b\r\n0\r\n\r\n" % (LIMIT + 1, b"x" * (LIMIT + 1))),
    _unread("a target too long", 414, line=b"POST /" + b"x" * 70_000 + b" HTTP/1.1"),
    _unread("a head too large", 431, b"x: " + b"y" * 70_000),
    _unread("too many fields", 431, *[b"x: y"] * 130),
    _unread("an expectation", 417, b"expect: tea"),
    _unread("a coding that is not understood", 501, b"transfer-encoding: gzip, chunked", body=b"0\r\n\r\n"),
    _unread("another version", 505, line=b"POST /v1/chat/completions HTTP/2.0"),
    _unread("two lengths", 400, b"content-length: 2", b"content-length: 3"),
    _unread("length and chunks", 400, b"content-length: 2", b"transfer-encoding: chunked", body=b"0\r\n\r\n"),
    _unread("a chunk's size that is none", 400, b"transfer-encoding: chunked", body=b"zz\r\n{}\r\n0\r\n\r\n"),
    _unread("two hosts", 400, b"host: b"),
    _unread("a field without a colon", 400, b"x"),
    _unread("no HTTP", 400, line=b"\x16\x03\x01"),
]  # fmt: skip


def refused_bytes(one: Refused, words: dict[bytes, str]) -> bytes:
    """Give the request's bytes, with keys and id in their places."""
    framed = any(b"content-length:" in field or b"transfer-encoding:" in field for field in one.fields)
    length = () if framed else (b"content-length: %d" % len(one.body),)
    head = b"\r\n".join((one.line, b"host: a", *one.fields, *length, b"", b""))
    for name, value in words.items():
        head = head.replace(b"%" + name + b"%", value.encode())
    return head + one.body
