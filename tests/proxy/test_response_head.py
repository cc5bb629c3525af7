"""Heads of responses."""

from __future__ import annotations

import pytest

from llm_audit.proxy.response_head import BadResponseError, read_response_head


def test_a_response_head_is_split_into_what_goes_on_and_what_is_recorded() -> None:
    head = read_response_head(
        b"HTTP/1.1 200 Fine\r\nContent-Type: x\r\nSet-Cookie: a=1\r\nX-Request-Id: 9\r\n"
        b"Connection: close, x-hop\r\nX-Hop: 1\r\nContent-Length: 5\r\n\r\n",
        200,
    )
    assert (head.reason, head.content_length, head.chunked, head.close) == (b"Fine", 5, False, True)
    assert head.forward_lines == b"Content-Type: x\r\nSet-Cookie: a=1\r\n"
    assert b"Set-Cookie: [redacted]\r\n" in head.record_lines
    assert b"X-Request-Id: 9\r\n" in head.record_lines


def test_a_response_of_http_1_0_ends_its_connection() -> None:
    assert read_response_head(b"HTTP/1.0 200 OK\r\n\r\n", 200).close is True


def test_a_response_without_fields_has_none() -> None:
    head = read_response_head(b"HTTP/1.1 204 No Content\r\n\r\n", 204)
    assert (head.forward_lines, head.record_lines) == (b"", b"")


def test_a_response_with_another_coding_is_refused() -> None:
    with pytest.raises(BadResponseError, match="gzip"):
        read_response_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 200)
