"""RFC 9112, sections 2 to 7, of responses: what a proxy must not pass on, what it must take, and how it says it.

A row says the section, the rule in our words, and what the model server sends. What makes a head unreadable is replaced by
502; what breaks the framing of a body whose head is on its way already cuts it, so that nobody takes it for whole.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from llm_audit.record.schema import Outcome as Ended
from proxy_stage import CALLER, UpstreamCall, ok
from proxy_wire import h11_responses, wire
from rfc9112 import HEAD, HOST, LENGTH, PATH, Row, label, over_tcp

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    with wire(tmp_path_factory.mktemp("rfc9112")) as one:
        yield one


RESPONSES = [
    Row("2.3", "a major version that is not spoken", b"HTTP/2.0 200 OK\r\ncontent-length: 4\r\n\r\nevil"),
    Row("2.3", "a minor version that is not spoken", b"HTTP/1.2 200 OK\r\ncontent-length: 4\r\n\r\nevil"),
    Row("2.3", "the version's name is in capitals", b"http/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"),
    Row("4", "a status has three digits: two", b"HTTP/1.1 20 OK\r\ncontent-length: 4\r\n\r\nevil"),
    Row("4", "a status has three digits: four", b"HTTP/1.1 2000 OK\r\ncontent-length: 4\r\n\r\nevil"),
    Row("4", "a status begins with a digit that means something", b"HTTP/1.1 099 OK\r\ncontent-length: 4\r\n\r\nevil"),
    Row("4", "a status line has a status", b"HTTP/1.1 OK\r\ncontent-length: 4\r\n\r\nevil"),
    Row("4", "a reason has no control character", b"HTTP/1.1 200 O\0K\r\ncontent-length: 4\r\n\r\nevil"),
    Row("2.2", "a bare CR is invalid: in a reason", b"HTTP/1.1 200 O\rK\r\ncontent-length: 4\r\n\r\nevil"),
    Row("2.2", "a bare CR is invalid: in a value", b"HTTP/1.1 200 OK\r\nx: a\rb\r\ncontent-length: 4\r\n\r\nevil"),
    Row("2.2", "white space before the first field", b"HTTP/1.1 200 OK\r\n x: a\r\ncontent-length: 4\r\n\r\nevil"),
    Row("5", "a field line has a colon", b"HTTP/1.1 200 OK\r\nx\r\ncontent-length: 4\r\n\r\nevil"),
    Row("5", "no zero byte in a value", b"HTTP/1.1 200 OK\r\nx: \0\r\ncontent-length: 4\r\n\r\nevil"),
    Row("5.1", "no white space before the colon (MUST be removed before it is passed on; refused here)", b"HTTP/1.1 200 OK\r\nx : y\r\ncontent-length: 4\r\n\r\nevil"),
    Row("5.1", "no white space before the colon: length", b"HTTP/1.1 200 OK\r\ncontent-length : 4\r\n\r\nevil"),
    Row("5.2", "no line folding", b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 4\r\n\r\nevil"),
    Row("6.1", "a coding that is not understood", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nevil"),
    Row("6.1", "chunked once", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
    Row("6.1", "a coding that is not understood, before chunked", b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
    Row("6.1", "a coding in HTTP/1.0 is faulty framing", b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
    Row("6.1", "a coding in HTTP/1.0 is faulty framing even with a length", b"HTTP/1.0 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
    Row("6.3", "rule 3: length and coding", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
    Row("6.3", "rule 5: two lengths", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nevil"),
    Row("6.3", "rule 5: two lengths, the same (MAY)", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 4\r\n\r\nevil"),
    Row("6.3", "rule 5: a list of one length (MAY)", b"HTTP/1.1 200 OK\r\ncontent-length: 4, 4\r\n\r\nevil"),
    Row("6.3", "rule 5: a list of lengths", b"HTTP/1.1 200 OK\r\ncontent-length: 4, 5\r\n\r\nevil"),
    Row("6.3", "rule 5: below zero", b"HTTP/1.1 200 OK\r\ncontent-length: -4\r\n\r\nevil"),
    Row("6.3", "rule 5: a word", b"HTTP/1.1 200 OK\r\ncontent-length: four\r\n\r\nevil"),
    Row("6.3", "rule 5: nothing", b"HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nevil"),
    Row("6.3", "rule 5: past 64 bits", b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551620\r\n\r\nevil"),
    Row("15.2.2 of RFC 9110", "an upgrade that nobody asked for", b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nevil"),
]  # fmt: skip


@pytest.mark.parametrize("row", RESPONSES, ids=label)
def test_a_malformed_response_is_discarded_replaced_by_502_and_its_connection_is_not_used_again(proxy, row):
    async def broken(upstream: UpstreamCall) -> None:
        await upstream.read_body()
        await upstream.send(row.sent)
        proxy.script = healthy
        await upstream.gone()

    async def healthy(upstream: UpstreamCall) -> None:
        await upstream.read_body()
        await upstream.send(ok(b"good"))

    proxy.script = broken
    before = proxy.stage.model.connections
    sent = HEAD + LENGTH + HEAD + b"connection: close\r\n" + LENGTH
    received = proxy.run(over_tcp(proxy, sent))
    answers, complaint = h11_responses(received, [b"POST", b"POST"], ended=True)
    assert complaint is None
    assert [one.start[0] for one in answers] == [b"502", b"200"]
    assert b"evil" not in answers[0].body
    assert answers[1].body == b"good"
    assert len(proxy.stage.model.calls) == 2
    assert proxy.stage.model.connections - before in {1, 2}  # the first may have rested in the pool


CUT = [
    Row("7.1", "large sizes do not overflow: 2 to the power of 64 and 4", CHUNKED + b"10000000000000004\r\nevil\r\n0\r\n\r\n"),
    Row("7.1", "a size has hexadecimal digits", CHUNKED + b"4\r\ngood\r\ng\r\nevil\r\n0\r\n\r\n"),
    Row("7.1", "a size has digits", CHUNKED + b"4\r\ngood\r\n\r\nevil\r\n0\r\n\r\n"),
    Row("7.1", "a size has no prefix", CHUNKED + b"0x4\r\nevil\r\n0\r\n\r\n"),
    Row("7.1", "a size has no sign", CHUNKED + b"-4\r\nevil\r\n0\r\n\r\n"),
    Row("7.1", "CRLF follows a size: LF", CHUNKED + b"4\nevil\r\n0\r\n\r\n"),
    Row("7.1", "CRLF follows chunk data", CHUNKED + b"4\r\ngood0\r\n\r\n"),
    Row("7.1", "chunk data are as long as their size: longer", CHUNKED + b"4\r\ngoodevil\r\n0\r\n\r\n"),
    Row("7.1", "the last chunk ends it: cut before", CHUNKED + b"4\r\ngood\r\n"),
    Row("7.1", "the last chunk ends it: cut in it", CHUNKED + b"4\r\ngood\r\n0\r\n"),
    Row("7.1.1", "no control character in an extension", CHUNKED + b"4;\0\r\nevil\r\n0\r\n\r\n"),
    Row("7.1.1", "white space before an extension (bad, and MUST be parsed; refused here)", CHUNKED + b"4 ;x\r\nevil\r\n0\r\n\r\n"),
    Row("7.1.2", "a trailer is a field: no colon", CHUNKED + b"4\r\ngood\r\n0\r\nx\r\n\r\n"),
    Row("7.1.2", "a trailer is a field: folded", CHUNKED + b"4\r\ngood\r\n0\r\nx: y\r\n z\r\n\r\n"),
    Row("7.1.2", "framing is no trailer", CHUNKED + b"4\r\ngood\r\n0\r\ncontent-length: 9\r\n\r\n"),
    Row("6.3", "rule 6: fewer bytes than the length", OK + b"content-length: 9\r\n\r\ngood"),
]  # fmt: skip


@pytest.mark.parametrize("row", CUT, ids=label)
def test_a_body_whose_framing_breaks_is_never_taken_for_whole(proxy, row):
    async def broken(upstream: UpstreamCall) -> None:
        await upstream.read_body()
        await upstream.send(row.sent)
        upstream.close()

    proxy.journaled()
    proxy.script = broken
    received = proxy.run(over_tcp(proxy, HEAD + LENGTH))
    found, _ = h11_responses(received, [b"POST"], ended=True)
    assert [one.complete for one in found] == [False]
    assert b"evil" not in received
    (ended,) = proxy.journaled()
    assert (ended.end.outcome, ended.end.status_code) == (Ended.UPSTREAM_ERROR, 200)


class Passed(NamedTuple):
    """A response that must be taken, and what must be said of it."""

    section: str
    rule: str
    sent: bytes
    start: bytes = b"HTTP/1.1 200 OK\r\n"
    body: bytes = b"good"


GOOD = b"content-length: 4\r\n\r\ngood"
PASSED = [
    Passed("2.3", "an intermediary sends its own version", b"HTTP/1.0 200 OK\r\n" + GOOD),
    Passed("4", "a space before no reason", b"HTTP/1.1 200 \r\n" + GOOD, b"HTTP/1.1 200 \r\n"),
    Passed("4", "a space before no reason, even where none came", b"HTTP/1.1 200\r\n" + GOOD, b"HTTP/1.1 200 \r\n"),
    Passed("4", "a reason of any text", b"HTTP/1.1 200 \xc3\xa9\t\xe9\r\n" + GOOD, b"HTTP/1.1 200 \xc3\xa9\t\xe9\r\n"),
    Passed("5.1", "no white space behind the colon", OK + GOOD.replace(b": ", b":")),
    Passed("6.1", "a coding's name in any case", OK + b"Transfer-Encoding: CHUNKED\r\n\r\n4\r\ngood\r\n0\r\n\r\n"),
    Passed("6.1", "no coding in 204", b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n", b"HTTP/1.1 204 No Content\r\n", b""),
    Passed("6.3", "rule 1: 204 has no body, whatever its length", b"HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\n", b"HTTP/1.1 204 No Content\r\n", b""),
    Passed("6.3", "rule 1: 304 has no body, whatever its length", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n", b""),
    Passed("6.3", "rule 1: 304 has no body, whatever its coding", b"HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n", b""),
    Passed("6.3", "rule 1: 1xx has no body, whatever its length", b"HTTP/1.1 103 Early Hints\r\ncontent-length: 4\r\n\r\n" + OK + GOOD),
    Passed("6.3", "rule 1: 1xx has no body, whatever its coding", b"HTTP/1.1 103 Early Hints\r\ntransfer-encoding: chunked\r\n\r\n" + OK + GOOD),
    Passed("6.3", "rule 8: the connection's end ends it", OK + b"\r\ngood"),
    Passed("6.2", "leading zeros of a length", OK + b"content-length: 004\r\n\r\ngood"),
    Passed("7.1", "sizes with leading zeros", CHUNKED + b"0004\r\ngood\r\n000\r\n\r\n"),
    Passed("7.1.1", "extensions that nobody knows are ignored", CHUNKED + b'4;a="b;c"\r\ngood\r\n0;x\r\n\r\n'),
    Passed("7.1.2", "trailers join no fields", CHUNKED + b"4\r\ngood\r\n0\r\nset-cookie: evil\r\n\r\n"),
]  # fmt: skip


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("row", PASSED, ids=label)
def test_what_must_be_taken_goes_on_in_the_client_s_own_version_s_framing(proxy, row, version):
    async def sent(upstream: UpstreamCall) -> None:
        await upstream.read_body()
        await upstream.send(row.sent)
        upstream.close()

    proxy.script = sent
    asked = (
        b"POST " + PATH + b" HTTP/" + version + b"\r\n" + HOST + CALLER + b"connection: close\r\n" + LENGTH
    )
    received = proxy.run(over_tcp(proxy, asked))
    (answer,), complaint = h11_responses(received, [b"POST"], ended=True)
    assert complaint is None
    assert received.startswith(row.start)
    assert (answer.complete, answer.body) == (True, row.body)
    lengths, codings = answer.values(b"content-length"), answer.values(b"transfer-encoding")
    assert len(lengths) + len(codings) <= 1  # RFC 9112 section 6.2
    assert not (codings and version == b"1.0")  # section 6.1
    assert not answer.values(b"set-cookie")
    if row.start.startswith(b"HTTP/1.1 204"):
        assert not lengths  # RFC 9110 section 8.6
        assert not codings
