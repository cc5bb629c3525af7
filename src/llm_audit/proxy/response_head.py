"""Heads of responses: framing, credentials, what goes on to the client. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from llm_audit.proxy import fields


class BadResponseError(Exception):
    """The upstream's response breaks a rule of HTTP."""


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


_REMEMBERED_LINES: Final[dict[bytes, int]] = {}
_REMEMBERED_LINE_COUNT: Final = 2048
_VOLATILE: Final = frozenset({b"date", b"x-request-id", b"content-length"})


_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?")
_KNOWN_STATUS_LINES: Final[set[bytes]] = {b"HTTP/1.1 200 OK"}
_KNOWN_STATUS_LINE_COUNT: Final = 64


def check_status_line(line: bytes) -> None:
    """See that a response begins as RFC 9112 section 4 says.

    llhttp skips empty lines before it, takes HTTP/2.0, RTSP and ICE for versions, and control characters for a
    reason. Raises BadResponseError.
    """
    if line in _KNOWN_STATUS_LINES:
        return
    if _STATUS_LINE.fullmatch(line) is None:
        raise BadResponseError(
            f"status line {fields.show(line)} came; HTTP/1.1, a status and a reason are expected"
        )
    if len(_KNOWN_STATUS_LINES) < _KNOWN_STATUS_LINE_COUNT:
        _KNOWN_STATUS_LINES.add(line)


def _response_action(line: bytes) -> int:
    """Tell what becomes of a response's field line, and remember it unless it changes with every response."""
    name = line[: line.index(b":")].lower()
    action = fields.RESPONSE_FIELDS.get(name, fields.PLAIN)
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
        if action == fields.PLAIN:
            forward.append(line)
        elif action != fields.CALLER:
            special.append((index, action))
    framing = _response_framing(lines, special, forward) if special else _NO_FRAMING
    close = not status_line.startswith(b"HTTP/1.1")
    if close and framing.chunked:
        raise BadResponseError(
            "Transfer-Encoding came in HTTP/1.0, which does not know it (RFC 9112 section 6.1)"
        )
    if framing.connection:
        close = close or b"close" in fields.tokens(framing.connection)
        forward = fields.without_nominated(forward, framing.connection)
    record = fields.joined(lines[1:]) if framing.has_secret else head[len(status_line) + 2 : -2]
    return ResponseHead(
        status, status_line[13:], framing.length, framing.chunked, close, fields.joined(forward), record
    )


class _Framing(NamedTuple):
    length: int | None = None
    chunked: bool = False
    connection: bytes = b""
    has_secret: bool = False


_NO_FRAMING: Final = _Framing()


def _response_framing(lines: list[bytes], special: list[tuple[int, int]], forward: list[bytes]) -> _Framing:
    """Read the lines that are more than forwarded; a secret is forwarded, and redacted in ``lines``."""
    length: int | None = None
    chunked = has_secret = False
    connection = b""
    for index, action in special:
        name, _, value = lines[index].partition(b":")
        if action == fields.LENGTH:
            length = int(value)
        elif action == fields.CODING:
            value = value.strip(b" \t").lower()
            if chunked or value != b"chunked":
                raise BadResponseError(
                    f"Transfer-Encoding {fields.show(value)} came; only one 'chunked' is taken"
                )
            chunked = True
        elif action == fields.CONNECTION:
            connection += value.lower() + b","
        elif action == fields.SECRET_FORWARD:
            forward.append(lines[index])
            lines[index] = name + b": " + fields.REDACTED
            has_secret = True
    return _Framing(length, chunked, connection, has_secret)


def client_head(head: ResponseHead, request_id: str, framing: bytes, *, keep_alive: bool) -> bytes:
    """Give the head as it goes to the client: our framing and request id, all else as it came."""
    return b"HTTP/1.1 %d %b\r\n%bx-request-id: %b\r\n%b%b\r\n" % (
        head.status,
        head.reason,
        head.forward_lines,
        request_id.encode("ascii"),
        framing,
        b"" if keep_alive else b"connection: close\r\n",
    )
