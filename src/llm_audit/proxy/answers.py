"""Answers that the proxy gives by itself, as bytes. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

import orjson

from llm_audit.proxy.refusals import ERROR_TYPES, Refusal
from llm_audit.record.schema import ErrorInfo


class Answer(NamedTuple):
    """One answer of our own."""

    status: int
    lines: bytes
    """Field lines, each ended by CRLF, without request id and Connection."""
    body: bytes
    error: ErrorInfo
    """As the record's ``error`` says it: the code, and the sentence."""


def error_answer(status: int, code: str, message: str, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """Give an error in OpenAI's shape."""
    error = {"message": message, "type": ERROR_TYPES.get(status, "server_error"), "param": None, "code": code}
    body = orjson.dumps({"error": error})
    return Answer(status, _lines(body, headers), body, ErrorInfo(code, message))


def refusal_answer(refusal: Refusal) -> Answer:
    """Give a refusal of the gate."""
    body = refusal.body()
    return Answer(
        refusal.status, _lines(body, refusal.headers), body, ErrorInfo(refusal.code, refusal.message)
    )


def health_answer(status: int, body: bytes) -> Answer:
    """Give the answer of ``/health``."""
    return Answer(status, _lines(body, ()), body, ErrorInfo("health", ""))


def _lines(body: bytes, headers: tuple[tuple[str, str], ...]) -> bytes:
    extra = b"".join(b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in headers)
    return b"content-type: application/json\r\ncontent-length: %d\r\n%b" % (len(body), extra)


def answer_head(answer: Answer, request_id: str, *, keep_alive: bool) -> bytes:
    """Give an answer's status line and fields."""
    return b"HTTP/1.1 %d %b\r\n%bx-request-id: %b\r\n%b\r\n" % (
        answer.status,
        _REASONS.get(answer.status, b""),
        answer.lines,
        request_id.encode("ascii"),
        b"" if keep_alive else b"connection: close\r\n",
    )


_REASONS: Final[dict[int, bytes]] = {
    200: b"OK",
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}
