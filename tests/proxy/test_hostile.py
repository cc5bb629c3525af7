"""Bad input: each kind with its clear answer and its record, and nothing of it smuggled upstream."""

from __future__ import annotations

import gzip
import json
import uuid
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_audit.record.schema import Outcome as Ended
from llm_audit.ship.build import build
from proxy_stage import CALLER, call
from proxy_wire import h11_requests, h11_responses, wire

SHARED = settings(
    max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    with wire(tmp_path_factory.mktemp("hostile"), max_body_bytes=2000) as one:
        yield one


def caller(**changed: bytes | None) -> bytes:
    """Identity headers, one of them changed or left out."""
    fields = {"source": b"finance-app", "user": b"ann", "request_type": b"ask"} | changed
    names = {"source": b"x-llm-source", "user": b"x-llm-user", "request_type": b"X-LLM-Request-Type"}
    return b"".join(b"%b: %b\r\n" % (names[key], value) for key, value in fields.items() if value is not None)


@dataclass(frozen=True)
class Refused:
    """What a client was told and what was recorded."""

    status: int
    message: str
    record: dict
    closed: bool


def refused(proxy, *pieces: bytes) -> Refused:
    """Send what must not pass; see that it was answered once, recorded once, and went nowhere."""
    outcome = proxy.exchange(pieces)
    (answer,), complaint = h11_responses(outcome.wire, [b"POST"], ended=True)
    assert complaint is None
    assert outcome.upstream == []
    (ended,) = outcome.ended
    assert ended.end.outcome is Ended.REJECTED
    record = json.loads(build(ended, None).data)
    error = json.loads(answer.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert record["statusCode"] == int(answer.start[0])
    assert record["error"]["type"] == error["code"]
    assert answer.values(b"x-request-id") == [record["requestId"].encode()]
    return Refused(int(answer.start[0]), error["message"], record, outcome.closed)


@pytest.mark.parametrize(
    "value",
    [None, b"", b" ", b"-", b"null", b"NULL", b"none", b"undefined", b"unknown", b"n/a", b"$context.identity.user",
     b"${user}", b"{{user}}", b"a#b", b"x" * 257, b"\xff\xfe", b"a\tb"],
)  # fmt: skip
@pytest.mark.parametrize("field", ["source", "user", "request_type"])
def test_a_caller_header_that_says_nothing_is_refused_by_name_and_the_connection_serves_on(
    proxy, field, value
):
    told = refused(proxy, call(headers=caller(**{field: value})))
    assert told.status == 400
    assert f"x-llm-{field.replace('_', '-')}" in told.message
    assert told.record["requestType" if field == "request_type" else field] is None
    assert not told.closed


def test_a_caller_header_that_comes_twice_is_refused(proxy):
    told = refused(proxy, call(headers=caller() + b"X-LLM-User: bob\r\n"))
    assert (told.status, told.record["user"]) == (400, None)


@pytest.mark.parametrize(
    "value",
    [b"../../x", b"%2e%2e", b"x" * 300, b"", b"01890a5dac96774bbcceb302099a8057", b"{01890a5d-ac96-774b-bcce-b302099a8057}",
     b"01890a5d-ac96-774b-bcce-b302099a805g", b"01890a5d-ac96-774b-bcce-b302099a8057 x", b"\xd9\xa11890a5d-ac96-774b-bcce-b302099a8057"],
)  # fmt: skip
def test_an_id_that_is_no_uuid_is_replaced_by_ours_and_shown_escaped(proxy, value):
    told = refused(proxy, call(headers=caller() + b"x-request-id: " + value + b"\r\n"))
    assert told.status == 400
    assert uuid.UUID(told.record["requestId"]).version == 7
    assert len(told.record["error"]["message"]) < 600
    assert told.record["error"]["message"].isascii()


def test_an_id_in_capitals_is_the_same_id(proxy):
    headers = caller() + b"x-request-id: 01890A5D-AC96-774B-BCCE-B302099A8057\r\n"
    outcome = proxy.exchange([call(headers=headers)])
    assert (
        json.loads(build(outcome.ended[0], None).data)["requestId"] == "01890a5d-ac96-774b-bcce-b302099a8057"
    )
    assert b"x-request-id: 01890a5d-ac96-774b-bcce-b302099a8057\r\n" in outcome.wire


@pytest.mark.parametrize(
    "target",
    [b"/v1/chat/completions/../../sleep", b"/v1/%63hat/completions", b"//v1/chat/completions", b"/v1\\chat\\completions",
     b"/v1/chat/completions;x", b"/sleep", b"/v1/chat/completions%00", b"/v1/chat/completions/"],
)  # fmt: skip
def test_a_path_that_is_not_exactly_on_the_list_is_not_found(proxy, target):
    assert refused(proxy, call(path=target)).status == 404


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n" + CALLER
NEXT = b"POST /x HTTP/1.1\r\nhost: a\r\n" + CALLER + b"content-length: 0\r\n\r\n"
CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNKS,
        b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n" + CHUNKS,
        b"content-length: 3\r\ncontent-length: 3\r\n\r\nabc",
        b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        b"content-length: 3, 3\r\n\r\nabc",
        b"content-length: +3\r\n\r\nabc",
        b"content-length: -3\r\n\r\nabc",
        b"content-length: 3 3\r\n\r\nabc",
        b"content-length: 0x3\r\n\r\nabc",
        b"content-length: \r\n\r\nabc",
        b"content-length: 99999999999999999999999\r\n\r\nabc",
        b"content-length : 3\r\n\r\nabc",
        b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNKS,
        b"transfer-encoding: identity\r\n\r\n",
        b"transfer-encoding: xchunked\r\n\r\n" + CHUNKS,
        b"transfer-encoding: gzip, chunked\r\n\r\n" + CHUNKS,
        b"transfer-encoding: chunked, identity\r\n\r\n" + CHUNKS,
        b"transfer-encoding:\x0bchunked\r\n\r\n" + CHUNKS,
        b"transfer-encoding : chunked\r\n\r\n" + CHUNKS,
        b"transfer-encoding:\r\n chunked\r\n\r\n" + CHUNKS,
        b"transfer-encoding\0: chunked\r\n\r\n" + CHUNKS,
        b"x-a: b\r\n folded: c\r\n\r\n",
        b"x-a: b\nx-b: c\r\n\r\n",
        b"x-a: b\rx-b: c\r\n\r\n",
        b"x-a: \0\r\n\r\n",
        b"host: b\r\n\r\n",
        b"no colon\r\n\r\n",
        b"expect: 200-ok\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc",
        b"transfer-encoding: chunked\r\n\r\n3;x\ny\r\nabc\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n3;\0\r\nabc\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\n\n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
def test_framing_that_two_parsers_could_read_differently_ends_the_connection(proxy, framing, bytewise):
    whole = HEAD + framing + NEXT
    pieces = [whole[at : at + 1] for at in range(len(whole))] if bytewise else [whole]
    told = refused(proxy, *pieces)
    assert told.status in {400, 413, 417, 501}
    assert told.closed


@pytest.mark.parametrize(
    "line",
    [b"POST http://b/v1/chat/completions HTTP/1.1", b"POST  /v1/chat/completions HTTP/1.1", b"POST /v1/chat/completions",
     b"POST /v1/chat/completions HTTP/2.0", b"POST /v1/chat/completions HTTP/1.1 ", b"post /v1/chat/completions HTTP/1.1",
     b"PRI * HTTP/2.0", b"CONNECT a:443 HTTP/1.1", b"\x16\x03\x01\x02\x00\x01\x00", b"POST /v1/chat/completions#x HTTP/1.1",
     b"POST /v1/chat/completions\tHTTP/1.1", b"POST /v1/chat/\0completions HTTP/1.1"],
)  # fmt: skip
def test_a_request_line_that_is_not_as_it_should_be_ends_the_connection(proxy, line):
    told = refused(proxy, line + b"\r\nhost: a\r\n" + CALLER + b"content-length: 3\r\n\r\nabc" + NEXT)
    assert told.status in {400, 505}
    assert told.closed


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"\xff\xfe\x00\x80", gzip.compress(b'{"model":"m"}', mtime=0), b"{" * 1000, b'{"model":"\\ud800"}', b"null", b"[1,2]",
     b'{"model": 1e999, "messages": "x"}', b"\0" * 100, b'{"a":' * 200],
)  # fmt: skip
@pytest.mark.parametrize(
    "content_type", [b"application/json", b"text/plain", b"multipart/form-data; boundary=x"]
)
def test_a_body_of_any_kind_goes_through_and_its_record_is_exact(proxy, body, content_type):
    headers = CALLER + b"content-type: " + content_type + b"\r\ncontent-encoding: gzip\r\n"
    outcome = proxy.exchange([call(body, headers=headers)])
    assert outcome.wire.startswith(b"HTTP/1.1 200 OK\r\n")
    assert outcome.upstream[0].endswith(b"\r\n\r\n" + body)
    record = json.loads(build(outcome.ended[0], None).data)
    assert record["outcome"] == "complete"
    assert record["request"]["bytes"] == len(body)


@pytest.mark.parametrize("size", [2001, 10**9, 2**63])
def test_a_body_that_is_announced_too_large_is_refused_at_once(proxy, size):
    told = refused(proxy, HEAD + b"content-length: %d\r\n\r\n" % size)
    assert (told.status, told.closed) == (413, True)


def test_too_many_fields_are_refused(proxy):
    told = refused(proxy, HEAD + b"x-a: b\r\n" * 200 + b"\r\n")
    assert (told.status, told.closed) == (431, True)


def test_credentials_of_a_request_that_cannot_be_read_are_not_recorded(proxy):
    outcome = proxy.exchange(
        [HEAD + b"authorization: Bearer secret-1\r\ncookie: secret-2\r\nhost: b\r\n\r\n"]
    )
    assert "secret" not in build(outcome.ended[0], None).data.decode()


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from([HEAD, NEXT, CHUNKS, b"\r\n", b"\r\n\r\n", b"content-length: 3\r\n", b"abc", b"transfer-encoding: chunked\r\n",
            b"POST ", b"/x", b" HTTP/1.1\r\n", b"x-a: ", b"0\r\n\r\n", b"upgrade: x\r\nconnection: upgrade\r\n", b"expect: 100-continue\r\n"]),
    ),
    max_size=12,
)  # fmt: skip


@SHARED
@given(PIECES)
def test_whatever_bytes_come_nothing_crashes_and_only_whole_requests_go_upstream(proxy, pieces):
    data = b"".join(pieces)
    outcome = proxy.exchange(pieces)
    meant, _ = h11_requests(data)
    for raw in outcome.upstream:
        (request,), complaint = h11_requests(raw)
        assert complaint is None
        assert request.complete
        assert request.body in [one.body for one in meant if one.complete]
    _, complaint = h11_responses(
        outcome.wire, [one.start[0] for one in meant] + [b"POST"], ended=outcome.closed
    )
    assert complaint is None
    assert all(one.end is not None for one in outcome.ended)
