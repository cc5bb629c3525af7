"""h11 is the oracle: what the proxy accepts, h11 reads as the same; what it refuses never goes upstream."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_audit.record.schema import Outcome as Ended
from proxy_stage import CALLER, UpstreamCall
from proxy_wire import Message, Outcome, h11_requests, h11_responses, wire

SETTINGS = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)

HOP = {
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade", b"http2-settings",
    b"transfer-encoding", b"content-length", b"host", b"expect", b"proxy-authorization", b"x-api-key",
    b"x-request-id", b"x-llm-gateway-key-id", b"x-llm-gateway-secret", b"x-forwarded-for",
}  # fmt: skip
OURS = {b"host", b"via", b"x-request-id", b"content-length"}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    with wire(tmp_path_factory.mktemp("oracle"), max_body_bytes=2000) as one:
        yield one


# --- requests: what may come --------------------------------------------------------------------------------

ODD_BYTES = [b"\0", b"\t", b"\n", b"\r", b" ", b"\r\n", b"\x0b", b"\x0c", b"\x7f", b"\x80", b"\xff", b":", b",", b";",
             b'"', b"\\", b"0", b"+", b"-", b"_", b"x", b"\r\n\r\n", b"\n\n", b"\n\r\n", b"\r\r\n", b"\r\n ", b"\r\n\t"]  # fmt: skip

METHODS = st.sampled_from([b"POST"] * 12 + [b"GET", b"HEAD", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"CONNECT", b"PRI",
    b"post", b"P OST", b"", b"SOURCE", b"QUERY", b"TRACE", b"FOO", b"\0POST", b"M-SEARCH"])  # fmt: skip
TARGETS = st.sampled_from(
    [b"/v1/chat/completions"] * 8
    + [b"/x"] * 4
    + [b"/x?a=b", b"/x?", b"/x?a b", b"/x?%00", b"/x?\x80", b"/x?\xff\xfe", b"/x?a#b", b"/x#a", b"/x?\x7f", b"/x?a\tb",
       b"http://a/x", b"HTTP://A/x", b"http://b/x", b"https://a/x?y", b"http://a", b"http://a?x", b"http://u@a/x",
       b"http:///x", b"a/x", b"*", b"a:443", b"//a/x", b"/x/../x", b"/x%2f", b"", b'/x?<>"{}|\\^`', b"/x?a\rb"]
)  # fmt: skip
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 14 + [b"HTTP/1.0"] * 3 + [b"HTTP/2.0", b"HTTP/1.2", b"HTTP/0.9", b"http/1.1",
    b"HTTP/1.1 ", b" HTTP/1.1", b"HTTP/1.10", b"HTTP/01.1", b"", b"ICE/1.0", b"RTSP/1.0", b"HTTP/3.1"])  # fmt: skip
LINES = st.sampled_from([
    b"content-length: 3", b"Content-Length: 3", b"Content-Length:3", b"Content-Length: 03", b"Content-Length: +3",
    b"Content-Length: -3", b"Content-Length: 3 ", b"Content-Length: 3, 3", b"Content-Length: 3,4", b"Content-Length: ",
    b"Content-Length: 0x3", b"Content-Length: 3_0", b"Content-Length: 3 3", b"Content-Length: 18446744073709551619",
    b"Content-Length : 3", b"Content-Length: \t3", b"CONTENT-LENGTH: 0", b"Content-Length: 99999", b"Content-Length: 1e1",
    b"Content-Length: \xc2\xb3", b"Content-Length\t: 3", b"Content_Length: 3",
    b"Transfer-Encoding: chunked", b"transfer-encoding: Chunked", b"Transfer-Encoding: chunked ", b"Transfer-Encoding:\tchunked",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: ",
    b"Transfer-Encoding : chunked", b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding:\r\n chunked",
    b'Transfer-Encoding: "chunked"', b"Transfer-Encoding: chunked;q=1", b"X: y\r\n Transfer-Encoding: chunked",
    b"Transfer_Encoding: chunked", b"\x00Transfer-Encoding: chunked",
    b"x-a: b", b"X-A:b", b"x-a:", b"x-a: ", b"x-a: b\tc", b"x-a: \x80\xff", b"x-a: \x7f", b"x-a: \0", b"x-a: \x01", b"x a: b",
    b" x-a: b", b"x-a : b", b"x-a", b": b", b"x-a: b\r\n c", b"x-a: b\r\n\tc", b"x-a: b\rc", b"x-a: b\nc: d", b"x(a: b",
    b"x-a: b\r\n\r", b"\xe9: b", b"x-a:: b", b"host: b", b"Host: a", b"Host: a b", b"Host: a,b", b"host : a", b"Host: ",
    b"connection: close", b"Connection: keep-alive", b"Connection: x-a", b"Connection: close, x-a", b"Connection: upgrade",
    b"Connection: Upgrade, HTTP2-Settings", b"Connection: content-length", b"Connection: transfer-encoding, x-llm-user",
    b"Upgrade: h2c", b"upgrade: websocket", b"upGRade: h2c", b"Upgrade: h2c\r\n x", b"HTTP2-Settings: x", b"Upgrade:",
    b"Expect: 100-continue", b"expect: 100-Continue", b"Expect: other", b"TE: trailers", b"Trailer: x-a",
    b"Proxy-Connection: close", b"Keep-Alive: timeout=5", b"Cookie: a=b", b"cookie: c=d", b"Authorization: Bearer x",
    b"X-Request-Id: 01890a5d-ac96-774b-bcce-b302099a8058", b"x-request-id: x", b"x-llm-user: bob", b"via: 1.0 x",
    b"X-Forwarded-For: 1.2.3.4", b"content-encoding: gzip", b"connection: close\r\nconnection: x-a, ,",
])  # fmt: skip
CHUNKED = st.sampled_from([
    b"3\r\nabc\r\n0\r\n\r\n", b"0\r\n\r\n", b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"3;x=y\r\nabc\r\n0\r\n\r\n", b"4\r\n\r\n\r\n\r\n0\r\n\r\n",
    b'3;x="y;\r\nabc\r\n0\r\n\r\n', b"3 \r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\nx-t: 1\r\n\r\n", b"03\r\nabc\r\n00\r\n\r\n",
    b"0x3\r\nabc\r\n0\r\n\r\n", b"+3\r\nabc\r\n0\r\n\r\n", b"3\nabc\r\n0\r\n\r\n", b"3\r\nabc\n0\r\n\r\n", b"3\r\nabc0\r\n\r\n",
    b"3\r\nabc\r\n0\n\n", b"3\r\nabc\r\n0\r\n\n", b"3\r\nabc\r\n0\n\r\n", b"3\r\nabc\r\n0\r\nx: y\n\n", b"g\r\nabc\r\n0\r\n\r\n",
    b"ffffffffffffffff1\r\nabc\r\n0\r\n\r\n", b"fffffffffffffffe\r\nabc\r\n0\r\n\r\n", b"-3\r\nabc\r\n0\r\n\r\n", b"\r\nabc\r\n0\r\n\r\n",
    b"3;\nabc\r\n0\r\n\r\n", b"3;\x00\r\nabc\r\n0\r\n\r\n", b"3;x\ny\r\nabc\r\n0\r\n\r\n", b"3;x\ry\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\r\n0\r\n\r\n",
    b"3\r\nabc\r\n0;x\r\n\r\n", b"3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n", b"3\r\nabc\r\n0\r\n x: y\r\n\r\n", b"3\r\nabc\r\n0\r\nx\r\n\r\n",
    b"3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", b"A\r\n0123456789\r\n0\r\n\r\n", b"a\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n",
    b"3\t\r\nabc\r\n0\r\n\r\n", b"3;a=b;c=d\r\nabc\r\n0\r\nx: y\r\nz: w\r\n\r\n", b" 3\r\nabc\r\n0\r\n\r\n", b"3 ; x\r\nabc\r\n0\r\n\r\n",
    b"3\r\nabc\r\n0\r\nx-t: \x00\r\n\r\n", b"3\r\nabc\r\n0\r\n: y\r\n\r\n", b"3\r\nabc\r\n0\r\nx : y\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n\r\n",
    b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n", b"7d1\r\n" + b"x" * 2001 + b"\r\n0\r\n\r\n",
])  # fmt: skip
BODIES = st.one_of(
    st.sampled_from([b"", b"abc", b"abc", b"abcd", b"a", b"\r\n", b"abc\r\n", b"\nabc"]), CHUNKED
)
USUAL = st.sampled_from([
    b"content-length: 3\r\n\r\nabc", b"Content-Length: 0\r\n\r\n", b"\r\n", b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"content-length: 4\r\n\r\n\r\n\r\n",
])  # fmt: skip


@st.composite
def plain_requests(draw):
    """A request as it should be, with odd but mostly harmless fields."""
    line = b" ".join((draw(st.sampled_from([b"POST", b"PUT", b"GET", b"HEAD"])), b"/x", b"HTTP/1.1"))
    if line.startswith(b"POST"):
        line = b"POST /v1/chat/completions HTTP/1.1"
    framed = draw(st.one_of(USUAL, CHUNKED.map(lambda body: b"Transfer-Encoding: chunked\r\n\r\n" + body)))
    return line + b"\r\nHost: a\r\n" + CALLER + framed


@st.composite
def odd_requests(draw):
    """A request put together from what goes wrong."""
    line = b" ".join((draw(METHODS), draw(TARGETS), draw(VERSIONS)))
    lines = [b"Host: a", *CALLER.split(b"\r\n")[:-1]]
    for odd in draw(st.lists(LINES, max_size=3)):
        lines.insert(draw(st.integers(0, len(lines))), odd)
    ending = draw(st.sampled_from([b"\r\n"] * 9 + [b"\n"]))
    return ending.join([line, *lines, b"", b""]) + draw(BODIES)


@st.composite
def streams(draw):
    """One to three requests on one connection, perhaps with bytes changed, cut somewhere."""
    data = b"".join(
        draw(st.lists(st.one_of(plain_requests(), odd_requests(), odd_requests()), min_size=1, max_size=3))
    )
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.sampled_from(ODD_BYTES)) + data[at + draw(st.integers(0, 2)) :]
    if draw(st.sampled_from([False, False, False, True])):
        data = data[: draw(st.integers(0, len(data)))]
    return data


CUTS = st.one_of(st.just([]), st.just(None), st.lists(st.integers(0, 600), max_size=6))


def cut(data: bytes, cuts: list[int] | None) -> list[bytes]:
    """Cut at these offsets; at every byte where None is given."""
    if cuts is None:
        return [data[at : at + 1] for at in range(len(data))]
    at = sorted({0, len(data), *(one for one in cuts if one < len(data))})
    return [data[start:end] for start, end in pairwise(at)]


# --- requests: what must hold -------------------------------------------------------------------------------


def nominated(message: Message) -> set[bytes]:
    """The fields that Connection names."""
    return {
        token.strip(b" \t").lower() for value in message.values(b"connection") for token in value.split(b",")
    } - {b"close", b"keep-alive", b"upgrade"}


def end_to_end(message: Message) -> list[tuple[bytes, bytes]]:
    """What a proxy has to pass on."""
    gone = HOP | nominated(message)
    return [(name, value) for name, value in message.headers if name.lower() not in gone]


def origin_form(target: bytes) -> bytes:
    """The target as a path."""
    if target.startswith(b"/"):
        return target
    path = target.partition(b"://")[2].partition(b"/")
    return b"/" + path[2]


def check_request(sent: Message, seen: Message) -> None:
    """A request went upstream as the client meant it."""
    assert sent.complete
    assert seen.complete
    assert seen.start == (sent.start[0], origin_form(sent.start[1]))
    assert seen.body == sent.body
    passed = [(name, value) for name, value in seen.headers if name.lower() not in OURS]
    assert passed == [(name, value) for name, value in end_to_end(sent) if name.lower() not in OURS]
    assert len(seen.values(b"host")) == len(seen.values(b"x-request-id")) == 1
    assert len(seen.values(b"content-length")) <= 1
    assert not seen.values(b"transfer-encoding")


def check_stream(data: bytes, outcome: Outcome) -> None:
    """Everything that must hold whatever a client sends."""
    meant, fault = h11_requests(data)
    seen = []
    for raw in outcome.upstream:
        parsed, complaint = h11_requests(raw)
        assert complaint is None
        assert len(parsed) == 1
        seen.append(parsed[0])
    methods = [one.start[0] for one in meant]
    answers, complaint = h11_responses(outcome.wire, [*methods, b"GET"], ended=outcome.closed)
    if complaint is not None:  # of a request that cannot be read, the method may be plain all the same
        answers, complaint = h11_responses(outcome.wire, [*methods, b"HEAD"], ended=outcome.closed)
    assert complaint is None, outcome.wire
    assert all(one.complete for one in answers)
    accepted = [sent for sent, answer in zip(meant, answers, strict=False) if answer.start[0] == b"200"]
    assert len(accepted) == len(seen), (fault, outcome)
    for sent, got in zip(accepted, seen, strict=True):
        check_request(sent, got)
    if fault is not None:
        assert outcome.closed or len(answers) < len(meant) or not data


@SETTINGS
@given(streams(), CUTS)
def test_what_is_accepted_h11_reads_as_the_same_and_what_is_refused_never_goes_upstream(proxy, data, cuts):
    check_stream(data, proxy.exchange(cut(data, cuts)))


# --- responses ----------------------------------------------------------------------------------------------

STATUS_LINES = st.sampled_from(
    [b"HTTP/1.1 200 OK"] * 10
    + [b"HTTP/1.0 200 OK", b"HTTP/1.1 404 Not Found", b"HTTP/1.1 200 ", b"HTTP/1.1 200", b"HTTP/1.1 204 No Content",
       b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 500 \xe9t\xe9", b"HTTP/1.1 307 Temporary Redirect", b"HTTP/1.1  200 OK",
       b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 099 x", b"HTTP/1.1 600 x", b"HTTP/1.1 999 x", b"HTTP/2 200 OK",
       b"HTTP/1.2 200 OK", b"http/1.1 200 OK", b"HTTP/1.1\t200 OK", b"HTTP/1.1 200\tOK", b"HTTP/1.1 200OK", b" HTTP/1.1 200 OK",
       b"HTTP/1.1 101 Switching Protocols", b"HTTP/1.1 200 O\nK: x", b"HTTP/1.1 200 O\rK", b"HTTP/1.1 200 O\0K", b"ICY 200 OK",
       b"HTTP/1.1 200 O\x7fK", b"HTTP/1.1 205 Reset Content", b"HTTP/1.1 206 Partial", b"HTTP/1.1 +20 OK", b"RTSP/1.0 200 OK"]
)  # fmt: skip
INTERIM = st.sampled_from(
    [b""] * 10
    + [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", b"HTTP/1.1 102 x\r\n\r\n" * 3,
       b"HTTP/1.1 100 Continue\r\ncontent-length: 3\r\n\r\n", b"HTTP/1.1 100 Continue\r\ntransfer-encoding: chunked\r\n\r\n",
       b"HTTP/1.1 100 Continue\r\nconnection: close\r\n\r\n", b"\r\n", b"\r\n\r\n", b"\0"]
)  # fmt: skip
RESPONSE_LINES = st.one_of(
    LINES,
    st.sampled_from([
        b"set-cookie: a=b", b"Set-Cookie: c=d", b"date: x", b"x-request-id: theirs", b"content-type: text/event-stream",
        b"Connection: x-b", b"x-b: 1", b"connection: close", b"server: uvicorn", b"content-length: 0",
    ]),
)  # fmt: skip
REPLIES = st.sampled_from([b"content-length: 3\r\n\r\nabc", b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"\r\nabc", b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", b"content-length: 5\r\n\r\nabc", b"content-length: 0\r\n\r\n"])  # fmt: skip
AFTER = st.sampled_from(
    [b""] * 6 + [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"\r\n", b"x", b"HTTP/1.1 "]
)


@st.composite
def replies(draw):
    """A response, more or less as it should be, perhaps cut or with bytes changed."""
    lines = [draw(STATUS_LINES), *draw(st.lists(RESPONSE_LINES, max_size=2))]
    ending = draw(st.sampled_from([b"\r\n"] * 9 + [b"\n"]))
    framed = draw(
        st.one_of(REPLIES, CHUNKED.map(lambda body: b"Transfer-Encoding: chunked\r\n\r\n" + body), BODIES)
    )
    data = draw(INTERIM) + ending.join([*lines, b""]) + framed + draw(AFTER)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.sampled_from(ODD_BYTES)) + data[at + draw(st.integers(0, 2)) :]
    if draw(st.sampled_from([False, False, False, True])):
        data = data[: draw(st.integers(0, len(data)))]
    return data


RESPONSE_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"te", b"trailer", b"upgrade",
    b"transfer-encoding", b"content-length", b"x-request-id"}  # fmt: skip


def check_response(method: bytes, version: bytes, data: bytes, outcome: Outcome, *, reset: bool) -> None:
    """The client reads what the model server said, or that it said nothing sensible."""
    answers, complaint = h11_responses(outcome.wire, [method], ended=True)
    assert len(answers) == 1, outcome.wire
    answer = answers[0]
    if answer.start[0] == b"502":
        assert complaint is None
        return
    said, fault = h11_responses(data, [method], ended=True, complain=False)
    assert said, (data, outcome.wire, fault)
    meant = said[0]
    assert answer.start == meant.start
    gone = RESPONSE_HOP | nominated(meant)
    passed = [(name, value) for name, value in answer.headers if name.lower() not in RESPONSE_HOP]
    cookies = [(name, value) for name, value in passed if name.lower() == b"set-cookie"]
    expected = [(name, value) for name, value in meant.headers if name.lower() not in gone]
    assert sorted(passed) == sorted(expected)
    assert cookies == [(name, value) for name, value in expected if name.lower() == b"set-cookie"]
    assert meant.body.startswith(answer.body)
    if outcome.ended[0].end.outcome is Ended.COMPLETE:
        assert meant.complete
        assert answer.complete
        assert answer.body == meant.body
        assert complaint is None
    else:
        assert outcome.ended[0].end.outcome is Ended.UPSTREAM_ERROR
        assert not meant.complete or reset or outcome.ended[0].end.error.type == "upstream_malformed"
        assert not answer.complete or version == b"HTTP/1.0"


@SETTINGS
@given(
    replies(),
    CUTS,
    st.sampled_from([b"POST", b"POST", b"POST", b"GET", b"HEAD"]),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]),
    st.booleans(),
)
def test_what_the_model_server_says_h11_reads_as_the_same_at_the_client(
    proxy, data, cuts, method, version, reset
):
    async def reply(upstream: UpstreamCall) -> None:
        await upstream.read_body()
        for piece in cut(data, cuts):
            await upstream.send(piece)
            await asyncio.sleep(0)
        if reset:
            upstream.reset()
        else:
            upstream.close()

    request = method + b" /x " + version + b"\r\nhost: a\r\n" + CALLER + b"content-length: 0\r\n\r\n"
    outcome = proxy.exchange([request], script=reply)
    check_response(method, version, data, outcome, reset=reset)
    after = proxy.exchange([request])
    answers, complaint = h11_responses(after.wire, [method], ended=after.closed)
    assert complaint is None
    assert [(one.start[0], one.body, one.complete) for one in answers] == [
        (b"200", b"" if method == b"HEAD" else b'{"id":"1"}', True)
    ]
