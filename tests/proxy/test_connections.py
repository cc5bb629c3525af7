"""What a connection does between, around and after its exchanges."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from llm_audit.proxy.server import ServerProtocol
from llm_audit.record.schema import Outcome
from proxy_stage import CALLER, Client, UpstreamCall, answer, call, ok, play, response_body, stage


async def silence(upstream: UpstreamCall) -> None:
    """Take a request and never answer it."""
    await upstream.read_body()
    await upstream.gone()


def the_connection(on) -> ServerProtocol:
    """The only client's protocol."""
    (connection,) = on.service.connections
    return connection


def test_bytes_that_come_before_a_pipelined_request_is_taken_up_stay_behind_it(tmp_path):
    async def main() -> None:
        async with stage(tmp_path, answer(ok(b"1")), answer(ok(b"2"))) as on:
            client = await on.client()
            second = call(b'{"a":2}')
            await client.send(call() + second[:40])
            while not on.service.connections:
                await asyncio.sleep(0)
            connection = the_connection(on)
            ended = connection.exchange_ended

            def ended_and_more_came(*, reusable: bool) -> None:
                # One turn of the loop may bring the model server's last bytes and the client's next ones.
                ended(reusable=reusable)
                connection.exchange_ended = ended
                connection.data_received(second[40:])

            while connection.exchange is None:
                await asyncio.sleep(0)
            connection.exchange_ended = ended_and_more_came
            assert (await client.response())[2] == b"1"
            assert (await client.response())[2] == b"2"
            assert len(on.model.calls) == 2
            assert on.model.calls[1].body == b'{"a":2}'

    play(main)


async def narrow_client(on) -> tuple[Client, ServerProtocol]:
    """A client that takes little at a time, and the proxy's side of it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", on.port))
    client = Client(*await asyncio.open_connection(sock=sock, limit=1024))
    on.clients.append(client)
    while not on.service.connections:
        await asyncio.sleep(0)
    connection = the_connection(on)
    connection._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return client, connection


CHUNK = b"c000\r\n" + b"x" * 0xC000 + b"\r\n"
BROKEN = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNK + b"zz\r\n"


def test_after_a_broken_response_no_further_request_is_served_on_that_connection(tmp_path):
    async def main() -> None:
        async with stage(tmp_path, answer(BROKEN), answer(ok(b"second"))) as on:
            client, connection = await narrow_client(on)
            await client.send(call())
            while connection._out.waiting_since is None:
                await asyncio.sleep(0)
            await client.send(call())
            wire = await client.rest()
            assert wire.count(b"HTTP/1.1") == 1
            assert len(on.model.calls) == 1
            ended = await on.only_exchange()
            assert ended.end.outcome is Outcome.UPSTREAM_ERROR

    play(main)


def test_what_a_slow_client_still_takes_of_a_broken_response_counts_as_delivered(tmp_path):
    async def main() -> None:
        async with stage(tmp_path, answer(BROKEN)) as on:
            client, connection = await narrow_client(on)
            await client.send(call())
            while connection._out.waiting_since is None:
                await asyncio.sleep(0)
            wire = await client.rest()
            ended = await on.only_exchange()
            assert wire.count(b"x" * 0xC000) == 1
            assert response_body(ended) == b"x" * 0xC000
            assert ended.end.delivered_bytes == 0xC000
            assert ended.end.outcome is Outcome.UPSTREAM_ERROR

    play(main)


def test_a_client_of_http_1_0_sees_a_broken_response_as_a_failure_and_not_as_its_end(tmp_path):
    async def main() -> None:
        cut = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"
        async with stage(tmp_path, answer(cut)) as on:
            client = await on.client()
            await client.send(call(version=b"HTTP/1.0"))
            with pytest.raises(ConnectionResetError):
                await client.reader.read(-1)
            assert (await on.only_exchange()).end.outcome is Outcome.UPSTREAM_ERROR

    play(main)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx-a: " + b"y" * 2**20 + b"\r\n\r\n",
        b"post /v1/chat/completions HTTP/1.1\r\nhost: a\r\n\r\n" + b"y" * 2**19,
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n" + b"y" * 2**19,
        call(b"y" * 2**19, headers=b""),
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n"
        + CALLER
        + b"transfer-encoding: chunked\r\n\r\nzz\r\n"
        + b"y" * 2**19,
    ],
    ids=["large head", "no method", "two hosts", "no caller", "no chunks"],
)
def test_who_sends_on_after_a_refusal_can_still_read_it(tmp_path, request_bytes):
    async def main() -> None:
        async with stage(tmp_path) as on:
            client = await on.client()
            with contextlib.suppress(ConnectionError):
                await client.send(request_bytes)
            status, head, body = await client.response()
            assert status in {400, 431}
            assert b"connection: close" in head
            assert b'"message"' in body
            client.writer.write_eof()
            assert await client.reader.read() == b""
            assert on.model.calls == []

    play(main)


def test_framing_that_outweighs_the_body_by_far_is_refused(tmp_path):
    async def main() -> None:
        async with stage(tmp_path) as on:
            client = await on.client()
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n" + CALLER
            with contextlib.suppress(ConnectionError):
                await client.send(head + b"transfer-encoding: chunked\r\n\r\n3;" + b"x" * 2**20)
            status, _, _ = await client.response()
            assert status == 400
            assert on.model.calls == []
            assert (await on.only_exchange()).end.outcome is Outcome.REJECTED

    play(main)


def test_a_body_in_chunks_of_one_byte_is_taken(tmp_path):
    async def main() -> None:
        async with stage(tmp_path) as on:
            client = await on.client()
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n" + CALLER
            await client.send(
                head + b"transfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 30_000 + b"0\r\n\r\n"
            )
            assert (await client.response())[0] == 200
            assert on.model.calls[0].body == b"x" * 30_000

    play(main)


def test_framing_alone_leaves_no_frames_in_the_journal(tmp_path):
    async def main() -> None:
        async with stage(tmp_path, silence) as on:
            client = await on.client()
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n" + CALLER
            await client.send(head + b"transfer-encoding: chunked\r\n\r\n3;")
            while not on.service.connections:
                await asyncio.sleep(0)
            connection = the_connection(on)
            while connection.exchange is None:
                await asyncio.sleep(0)
            before = on.writer.position()[1]
            for _ in range(50):
                connection.data_received(b"x")
            assert on.writer.position()[1] == before

    play(main)


def test_a_connection_that_upstream_closes_at_once_answers_502(tmp_path):
    async def main() -> None:
        async with stage(tmp_path) as on:
            loop = asyncio.get_running_loop()
            create_connection = loop.create_connection
            on.service._pool.loop = SlowLoop(loop, create_connection)
            status, _, body = await on.ask(call())
            assert status == 502
            assert b"upstream_closed" in body

    play(main)


class SlowLoop:
    """A loop on which a connection is lost before whoever asked for it hears that it was made."""

    def __init__(self, loop, create_connection) -> None:
        self._loop = loop
        self._create_connection = create_connection

    def __getattr__(self, name):
        return getattr(self._loop, name)

    async def create_connection(self, *arguments, **named):
        """Connect, then lose the connection."""
        transport, protocol = await self._create_connection(*arguments, **named)
        transport.abort()
        while not protocol.closed:
            await asyncio.sleep(0)
        return transport, protocol


@pytest.mark.parametrize("framing", [b"content-length: 3000", b"transfer-encoding: chunked"])
def test_what_passes_unaudited_has_the_same_limit_of_its_body(tmp_path, framing):
    async def main() -> None:
        async with stage(tmp_path, max_body_bytes=2000) as on:
            client = await on.client()
            head = b"GET /v1/models HTTP/1.1\r\nhost: a\r\n" + framing + b"\r\n\r\n"
            await client.send(head + b"bb8\r\n" + b"x" * 3000)
            assert (await client.response())[0] == 413
            assert on.model.calls == []

    play(main)


@pytest.mark.parametrize("length", [b"", b"content-length: 0\r\n", b"content-length: 5\r\n"])
def test_a_204_has_no_length(tmp_path, length):
    async def main() -> None:
        async with stage(
            tmp_path, answer(b"HTTP/1.1 204 No Content\r\n" + length + b"\r\n"), answer(ok())
        ) as on:
            client = await on.client()
            await client.send(call())
            head = await client.head()
            assert b"content-length" not in head
            assert b"transfer-encoding" not in head
            await client.send(call())
            assert (await client.response())[0] == 200

    play(main)


def test_an_answer_that_comes_while_draining_says_that_the_connection_ends(tmp_path):
    go_on = asyncio.Event()

    async def late(upstream: UpstreamCall) -> None:
        await upstream.read_body()
        await go_on.wait()
        await upstream.send(ok())

    async def main() -> None:
        async with stage(tmp_path, late) as on:
            client = await on.client()
            await client.send(call())
            while not on.model.calls:
                await asyncio.sleep(0)
            on.service.drain()
            go_on.set()
            status, head, _ = await client.response()
            assert status == 200
            assert b"connection: close\r\n" in head
            assert await client.reader.read() == b""

    play(main)
