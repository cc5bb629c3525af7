"""Heads of requests: framing, hop-by-hop fields, credentials."""

from __future__ import annotations

import pytest

from llm_audit.proxy.fields import MAX_HEADER_FIELDS
from llm_audit.proxy.request_head import BadRequestError, RequestHead, read_request_head, without_upgrade


def request(*lines: bytes, target: bytes = b"/v1/models", version: bytes = b"HTTP/1.1") -> RequestHead:
    head = b"\r\n".join([b"POST " + target + b" " + version, *lines, b"", b""])
    return read_request_head(head, b"POST", target)


def refusal(*lines: bytes, target: bytes = b"/v1/models", version: bytes = b"HTTP/1.1") -> BadRequestError:
    with pytest.raises(BadRequestError) as caught:
        request(*lines, target=target, version=version)
    return caught.value


def test_fields_without_a_meaning_to_this_hop_are_forwarded_and_recorded_as_they_came() -> None:
    head = request(b"Host: a", b"X-Odd:  two  ", b"accept:*/*")
    assert head.fields.forward_lines == b"X-Odd:  two  \r\naccept:*/*\r\n"
    assert head.record_lines == b"Host: a\r\nX-Odd:  two  \r\naccept:*/*\r\n"


@pytest.mark.parametrize(
    ("name", "forwarded"),
    [
        (b"Authorization", True),
        (b"Cookie", True),
        (b"X-Api-Key", False),
        (b"Proxy-Authorization", False),
    ],
)
def test_a_credential_is_recorded_without_its_value(name: bytes, *, forwarded: bool) -> None:
    head = request(b"Host: a", name + b": s3cret")
    assert b"s3cret" not in head.record_lines
    assert name + b": [redacted]\r\n" in head.record_lines
    assert (name + b": s3cret\r\n" in head.fields.forward_lines) is forwarded


@pytest.mark.parametrize("name", [b"x-llm-gateway-secret", b"X-LLM-Gateway-Key-Id", b"X-Forwarded-For"])
def test_the_gateways_own_fields_are_neither_forwarded_nor_recorded(name: bytes) -> None:
    head = request(b"Host: a", name + b": s3cret")
    assert b"s3cret" not in head.record_lines + head.fields.forward_lines
    assert b"s3cret" in head.callers


def test_caller_fields_are_collected_and_a_repeated_one_is_named() -> None:
    head = request(b"Host: a", b"X-LLM-Source: app", b"x-llm-user:\tann ", b"x-llm-source: other")
    assert head.callers.user == b"ann"
    assert head.callers.repeated == (b"x-llm-source",)


def test_the_request_id_is_recorded_but_replaced_on_the_way_upstream() -> None:
    head = request(b"Host: a", b"X-Request-Id: 1")
    assert head.record_lines == b"Host: a\r\nX-Request-Id: 1\r\n"
    assert head.fields.forward_lines == b""


@pytest.mark.parametrize(
    "line",
    [
        b"Connection: keep-alive",
        b"Keep-Alive: timeout=5",
        b"TE: trailers",
        b"Trailer: x",
        b"Proxy-Connection: close",
    ],
)
def test_fields_of_this_hop_end_here(line: bytes) -> None:
    assert request(b"Host: a", line).fields.forward_lines == b""


def test_fields_that_connection_names_end_here() -> None:
    head = request(b"Host: a", b"X-Mine: 1", b"Connection: close, x-mine", b"X-Other: 2")
    assert head.fields.forward_lines == b"X-Other: 2\r\n"
    assert head.fields.keep_alive is False


@pytest.mark.parametrize(
    ("lines", "status", "says"),
    [
        ((), 400, "no Host"),
        ((b"Host: a", b"Host: a"), 400, "two Host"),
        ((b"Host: a b",), 400, "no host name"),
        ((b"Host: a", b"Transfer-Encoding: gzip, chunked"), 501, "only 'chunked' is understood"),
        (
            (b"Host: a", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
            400,
            "only one 'chunked'",
        ),
        ((b"Host: a", b"Expect: a-miracle"), 417, "100-continue"),
        ((b"Host: a", *[b"x: y"] * MAX_HEADER_FIELDS), 431, "at most"),
    ],
)
def test_a_rule_that_is_broken_is_named(lines: tuple[bytes, ...], status: int, says: str) -> None:
    error = refusal(*lines)
    assert (error.status, says in error.message) == (status, True)


def test_chunked_in_http_1_0_is_refused() -> None:
    assert refusal(b"Transfer-Encoding: chunked", version=b"HTTP/1.0").status == 400


def test_http_1_0_needs_no_host_and_is_not_kept_alive() -> None:
    assert request(version=b"HTTP/1.0").fields.keep_alive is False


@pytest.mark.parametrize("version", [b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2"])
def test_another_version_is_answered_505(version: bytes) -> None:
    assert refusal(b"Host: a", version=version).status == 505


def test_two_spaces_in_the_request_line_are_refused() -> None:
    with pytest.raises(BadRequestError, match="one space apart"):
        read_request_head(b"POST  /x HTTP/1.1\r\nHost: a\r\n\r\n", b"POST", b"/x")


def test_an_absolute_target_of_the_same_host_is_taken_in_origin_form() -> None:
    head = request(b"Host: a:80", target=b"http://A:80/v1/x?y=1")
    assert (head.target, head.path) == (b"/v1/x?y=1", b"/v1/x")


@pytest.mark.parametrize("target", [b"http://b/v1/x", b"/x#y", b"*", b"ftp://a/x", b"http://a@b/x"])
def test_a_target_that_could_mean_another_resource_is_refused(target: bytes) -> None:
    assert refusal(b"Host: a", target=target).status == 400


def test_upgrade_fields_are_taken_out_of_a_head() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nX: Upgrade: y\r\n\r\n"
    assert without_upgrade(head) == b"GET / HTTP/1.1\r\nHost: a\r\nX: Upgrade: y\r\n\r\n"
