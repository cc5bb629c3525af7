"""What a client meets at the socket, and what the journal holds of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from llm_audit.record.schema import Outcome
from proxy_stage import (
    CALLER,
    REQUEST_ID,
    Stage,
    UpstreamCall,
    answer,
    call,
    ok,
    play,
    response_body,
    stage,
)

STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def test_a_call_goes_through_byte_for_byte_and_is_in_the_journal(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path, answer(ok(b"\x00\xffreply", headers=b"X-Odd: 1\r\n"))) as on:
            status, head, body = await on.ask(call(b"\x00\xffprompt", path=b"/v1/completions?x=%20"))
            assert (status, body) == (200, b"\x00\xffreply")
            assert b"\r\nX-Odd: 1\r\n" in head
            assert b"\r\nx-request-id: 01890a5d-ac96-774b-bcce-b302099a8057\r\n" in head
            upstream = on.model.calls[0]
            assert upstream.head.startswith(b"POST /v1/completions?x=%20 HTTP/1.1\r\n")
            assert b"x-request-id: 01890a5d-ac96-774b-bcce-b302099a8057\r\n" in upstream.head
            assert upstream.body == b"\x00\xffprompt"
            ended = await on.only_exchange()
            assert ended.request is not None
            assert ended.end is not None
            assert ended.response is not None
            assert (ended.request.request_id, ended.request.source) == (REQUEST_ID, "finance-app")
            assert b"".join(ended.request_body) == b"\x00\xffprompt"
            assert (ended.response.status, response_body(ended)) == (200, b"\x00\xffreply")
            assert (ended.end.outcome, ended.end.status_code) == (Outcome.COMPLETE, 200)
            assert ended.end.delivered_bytes == 7

    play(main)


def test_each_piece_of_a_stream_reaches_the_client_before_the_next_one_is_sent(tmp_path: Path) -> None:
    seen = asyncio.Event

    async def main() -> None:
        go_on = seen()

        async def script(upstream: UpstreamCall) -> None:
            await upstream.read_body()
            await upstream.send(STREAM_HEAD, b"5\r\nfirst\r\n")
            await go_on.wait()
            await upstream.send(b"6\r\nsecond\r\n0\r\n\r\n")

        async with stage(tmp_path, script) as on:
            client = await on.client()
            await client.send(call())
            await client.head()
            assert await client.reader.readexactly(10) == b"5\r\nfirst\r\n"
            go_on.set()
            assert await client.chunks() == b"second"
            ended = await on.only_exchange()
            assert [chunk.data for chunk in ended.chunks if chunk.data] == [b"first", b"second"]

    play(main)


def test_a_request_that_arrives_byte_by_byte_is_the_same_request(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path) as on:
            client = await on.client()
            for byte in call(b"hello"):
                await client.send(bytes([byte]))
                await asyncio.sleep(0)
            assert (await client.response())[0] == 200
            assert on.model.calls[0].body == b"hello"

    play(main)


def test_requests_that_come_at_once_are_answered_one_after_the_other(tmp_path: Path) -> None:
    async def main() -> None:
        chunked = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx-llm-source: a\r\nx-llm-user: b\r\n"
            b"x-llm-request-type: c\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        )
        async with stage(tmp_path, answer(ok(b"1")), answer(ok(b"2")), answer(ok(b"3"))) as on:
            client = await on.client()
            await client.send(call(b"one") + chunked + call(b"three"))
            assert [(await client.response())[2] for _ in range(3)] == [b"1", b"2", b"3"]
            assert [one.body for one in on.model.calls] == [b"one", b"hello", b"three"]
            assert on.model.connections == 1
            await on.exchanges(3)

    play(main)


def test_a_chunked_request_goes_upstream_with_its_length(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path) as on:
            client = await on.client()
            head = call(b"", headers=CALLER + b"transfer-encoding: chunked\r\n").replace(
                b"content-length: 0\r\n", b""
            )
            for piece in (head, b"3;ext=1\r\nabc\r", b"\n2\r\nde\r\n0\r\nX-Trailer: 1\r", b"\n\r\n"):
                await client.send(piece)
                await asyncio.sleep(0.001)
            assert (await client.response())[0] == 200
            assert on.model.calls[0].body == b"abcde"
            assert b"content-length: 5\r\n" in on.model.calls[0].head
            assert b"chunked" not in on.model.calls[0].head
            assert b"railer" not in on.model.calls[0].head

    play(main)


def test_a_client_that_expects_100_continue_gets_it_before_it_sends_its_body(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path) as on:
            client = await on.client()
            request = call(b"hello", headers=CALLER + b"expect: 100-continue\r\n")
            await client.send(request[:-5])
            assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send(b"hello")
            assert (await client.response())[0] == 200
            assert b"expect" not in on.model.calls[0].head

    play(main)


def test_a_refused_client_that_expects_100_continue_is_refused_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path) as on:
            client = await on.client()
            await client.send(call(b"hello", headers=b"expect: 100-continue\r\n")[:-5])
            status, head, _ = await client.response()
            assert status == 400
            assert b"connection: close\r\n" in head
            assert on.model.calls == []

    play(main)


def test_an_http_1_0_client_gets_its_answer_and_the_end_of_the_connection(tmp_path: Path) -> None:
    async def main() -> None:
        script = answer(STREAM_HEAD + b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n")
        async with stage(tmp_path, script) as on:
            client = await on.client()
            await client.send(call(version=b"HTTP/1.0"))
            head = await client.head()
            assert b"chunked" not in head
            assert await client.rest() == b"firstsecond"
            ended = await on.only_exchange()
            assert ended.end is not None
            assert ended.end.outcome is Outcome.COMPLETE

    play(main)


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_client_that_leaves_stops_the_model_server_at_once(tmp_path: Path, when: str) -> None:
    async def main() -> None:
        stopped = asyncio.Event()

        async def script(upstream: UpstreamCall) -> None:
            await upstream.read_body()
            if when == "during":
                await upstream.send(STREAM_HEAD, b"5\r\nfirst\r\n")
            await upstream.gone()
            stopped.set()

        async with stage(tmp_path, script) as on:
            client = await on.client()
            await client.send(call())
            if when == "during":
                await client.reader.readuntil(b"first\r\n")
            else:
                while not (on.model.calls and on.model.calls[0].body):
                    await asyncio.sleep(0.001)
            client.writer.close()
            await stopped.wait()
            ended = await on.only_exchange()
            assert ended.end is not None
            assert ended.end.outcome is Outcome.CLIENT_DISCONNECTED
            during = when == "during"
            assert ended.end.delivered_bytes == (5 if during else 0)
            assert ended.end.status_code == (200 if during else None)
            assert response_body(ended) == (b"first" if during else b"")

    play(main)


def test_what_was_generated_and_what_was_delivered_differ_for_a_client_that_reads_nothing(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        piece = b"%x\r\n%b\r\n" % (2**20, b"x" * 2**20)
        sent = 0

        async def script(upstream: UpstreamCall) -> None:
            nonlocal sent
            await upstream.read_body()
            await upstream.send(STREAM_HEAD)
            while True:
                await upstream.send(piece)
                sent += 1

        async with stage(tmp_path, script, journal_limit_bytes=256 * 2**20) as on:
            client = await on.client()
            await client.send(call())
            await client.head()
            before = -1
            while before != sent or sent == 0:  # until backpressure has stopped the model server
                before = sent
                await asyncio.sleep(0.1)
            assert sent < 40
            client.reset()
            ended = await on.only_exchange()
            assert ended.end is not None
            assert ended.end.outcome is Outcome.CLIENT_DISCONNECTED
            assert ended.end.delivered_bytes is not None
            assert 0 < ended.end.delivered_bytes < len(response_body(ended))

    play(main)


async def lost_upstream(on: Stage) -> tuple[int, Outcome, str]:
    """Make a call; answers status, outcome and the error's type."""
    status, _, _ = await on.ask(call())
    ended = await on.only_exchange()
    assert ended.end is not None
    assert ended.end.error is not None
    return status, ended.end.outcome, ended.end.error.type


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_model_server_that_closes_before_it_answers_gives_502(tmp_path: Path, how: str) -> None:
    async def main() -> None:
        async def script(upstream: UpstreamCall) -> None:
            await upstream.read_body()
            upstream.close() if how == "close" else upstream.reset()

        async with stage(tmp_path, script) as on:
            assert await lost_upstream(on) == (502, Outcome.UPSTREAM_ERROR, "upstream_closed")

    play(main)


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    ],
)
def test_a_model_server_that_speaks_no_valid_http_gives_502(tmp_path: Path, garbage: bytes) -> None:
    async def main() -> None:
        async def script(upstream: UpstreamCall) -> None:
            await upstream.read_body()
            await upstream.send(garbage)
            await upstream.gone()

        async with stage(tmp_path, script) as on:
            status, outcome, kind = await lost_upstream(on)
            assert (status, outcome) == (502, Outcome.UPSTREAM_ERROR)
            assert kind in ("upstream_malformed", "upstream_closed")

    play(main)


@pytest.mark.parametrize(
    "cut",
    [
        STREAM_HEAD + b"5\r\nfirst\r\n",
        STREAM_HEAD + b"5\r\nfir",
        STREAM_HEAD + b"5\r\nfirst\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nfirst",
    ],
)
def test_a_response_that_is_cut_reaches_the_client_as_cut_and_is_recorded_so(
    tmp_path: Path, cut: bytes
) -> None:
    async def main() -> None:
        async def script(upstream: UpstreamCall) -> None:
            await upstream.read_body()
            await upstream.send(cut)
            upstream.close()

        async with stage(tmp_path, script) as on:
            client = await on.client()
            await client.send(call())
            data = await client.rest()
            assert b"\r\n\r\n" in data
            assert not data.endswith(b"0\r\n\r\n")
            assert b"fir" in data
            ended = await on.only_exchange()
            assert ended.end is not None
            assert (ended.end.outcome, ended.end.status_code) == (Outcome.UPSTREAM_ERROR, 200)
            assert b"fir" in response_body(ended)
            assert ended.end.delivered_bytes == len(response_body(ended))

    play(main)


def test_a_model_server_that_cannot_be_reached_gives_502(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path, upstream_is_launched=False) as on:
            on.service._pool._port = 1
            assert await lost_upstream(on) == (502, Outcome.UPSTREAM_ERROR, "upstream_unreachable")

    play(main)


def test_a_response_that_only_the_connections_end_delimits_is_complete(tmp_path: Path) -> None:
    async def main() -> None:
        async def script(upstream: UpstreamCall) -> None:
            await upstream.read_body()
            await upstream.send(b"HTTP/1.1 200 OK\r\n\r\nfirst", b"second")
            upstream.close()

        async with stage(tmp_path, script) as on:
            status, _, body = await on.ask(call())
            assert (status, body) == (200, b"firstsecond")
            ended = await on.only_exchange()
            assert ended.end is not None
            assert ended.end.outcome is Outcome.COMPLETE

    play(main)


def test_interim_responses_end_at_this_hop(tmp_path: Path) -> None:
    async def main() -> None:
        script = answer(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + ok(b"1")
        )
        async with stage(tmp_path, script) as on:
            status, _, body = await on.ask(call())
            assert (status, body) == (200, b"1")

    play(main)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_a_response_without_body_leaves_both_connections_usable(tmp_path: Path, status: bytes) -> None:
    async def main() -> None:
        async with stage(tmp_path, answer(b"HTTP/1.1 " + status + b"\r\n\r\n"), answer(ok(b"2"))) as on:
            client = await on.client()
            await client.send(call())
            assert (await client.response())[0] == int(status[:3])
            await client.send(call())
            assert (await client.response())[2] == b"2"
            assert on.model.connections == 1

    play(main)


def test_bytes_after_a_response_are_not_taken_for_the_next_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path, answer(ok(b"1") + ok(b"smuggled")), answer(ok(b"2"))) as on:
            client = await on.client()
            await client.send(call())
            assert (await client.response())[2] == b"1"
            await client.send(call())
            assert (await client.response())[2] == b"2"
            assert on.model.connections == 2

    play(main)


def test_a_redirect_is_passed_on_and_not_followed(tmp_path: Path) -> None:
    async def main() -> None:
        moved = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n"
        async with stage(tmp_path, answer(moved)) as on:
            status, head, _ = await on.ask(call())
            assert status == 307
            assert b"location: http://elsewhere/\r\n" in head
            assert len(on.model.calls) == 1

    play(main)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"POST /v1/chat/completions HTTP/1.1\nhost: a\n\n", 400),
        (call(headers=CALLER + b"x: y\r\n z\r\n"), 400),
        (call(headers=CALLER + b"transfer-encoding: chunked\r\n"), 400),
        (call(headers=CALLER + b"content-length: 13\r\n"), 400),
        (call(headers=CALLER + b"content-length: +1\r\n"), 400),
        (call(headers=CALLER + b"host: b\r\n"), 400),
        (call(path=b"http://b/v1/chat/completions"), 400),
        (call(headers=CALLER + b"x : y\r\n"), 400),
        (call(headers=CALLER + b"x: \0\r\n"), 400),
        (call(version=b"HTTP/2.0"), 505),
        (call(headers=CALLER + b"big: " + b"x" * 70_000 + b"\r\n"), 431),
        (call(headers=CALLER + b"x: y\r\n" * 200), 431),
        (call(headers=CALLER + b"expect: tea\r\n"), 417),
        (call(path=b"/v1/%63hat/completions"), 404),
        (call(path=b"/sleep"), 404),
        (call(path=b"/v1/realtime"), 501),
        (call(method=b"GET"), 405),
        (call(method=b"CONNECT"), 400),
        (call(headers=b""), 400),
        (call(headers=CALLER.replace(b"finance-app", b"a#b")), 400),
        (call(headers=CALLER.replace(b"01890a5d", b"../../x")), 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
def test_what_must_not_pass_is_answered_recorded_and_never_reaches_the_model_server(
    tmp_path: Path, request_bytes: bytes, status: int
) -> None:
    async def main() -> None:
        async with stage(tmp_path) as on:
            client = await on.client()
            await client.send(request_bytes)
            got, _, body = await client.response()
            assert got == status
            assert body.startswith(b'{"error":{"message":"')
            ended = await on.only_exchange()
            assert ended.end is not None
            assert ended.end.error is not None
            assert (ended.end.outcome, ended.end.status_code) == (Outcome.REJECTED, status)
            assert response_body(ended) == body
            assert on.model.calls == []

    play(main)


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path, max_body_bytes=10) as on:
            client = await on.client()
            await client.send(call(b"x" * 11)[:-5])
            assert (await client.response())[0] == 413
            assert b"".join((await on.only_exchange()).request_body) == b""

    play(main)


def test_a_chunked_body_that_grows_too_large_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path, max_body_bytes=10) as on:
            client = await on.client()
            head = call(b"", headers=CALLER + b"transfer-encoding: chunked\r\n")
            await client.send(head.replace(b"content-length: 0\r\n", b"") + b"5\r\nhello\r\n")
            await client.send(b"6\r\n world\r\n")
            assert (await client.response())[0] == 413
            ended = await on.only_exchange()
            assert ended.end is not None
            assert ended.end.outcome is Outcome.REJECTED

    play(main)


def test_a_refused_upload_is_answered_though_the_client_is_still_sending(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path) as on:
            client = await on.client()
            await client.send(call(b"x" * 500_000, headers=b""))
            assert (await client.response())[0] == 400
            client.writer.write_eof()
            assert await client.rest() == b""

    play(main)


def test_a_connection_serves_on_after_a_refusal_whose_request_was_read(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path) as on:
            client = await on.client()
            await client.send(call(headers=b""))
            assert (await client.response())[0] == 400
            await client.send(call())
            assert (await client.response())[0] == 200

    play(main)


def test_an_offer_to_upgrade_is_ignored(tmp_path: Path) -> None:
    async def main() -> None:
        offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
        async with stage(tmp_path) as on:
            assert (await on.ask(call(b"hello", headers=CALLER + offer)))[0] == 200
            assert on.model.calls[0].body == b"hello"
            assert b"pgrade" not in on.model.calls[0].head

    play(main)


def test_model_lists_pass_and_are_not_recorded(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path) as on:
            assert (await on.ask(b"GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n"))[0] == 200
            await on.exchanges(0)

    play(main)


def test_no_credential_is_in_any_file_of_the_journal(tmp_path: Path) -> None:
    async def main() -> None:
        secrets = b"authorization: Bearer s3cret\r\ncookie: s3cret\r\nx-api-key: s3cret\r\nx-forwarded-for: s3cret\r\n"
        async with stage(tmp_path, answer(ok(headers=b"set-cookie: s3cret\r\n"))) as on:
            assert (await on.ask(call(headers=CALLER + secrets)))[0] == 200
            assert b"authorization: Bearer s3cret\r\n" in on.model.calls[0].head
            assert b"x-api-key" not in on.model.calls[0].head
            await on.settled()
            assert all(b"s3cret" not in path.read_bytes() for path in on.directory.iterdir())

    play(main)
