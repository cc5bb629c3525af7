"""Memory of a real worker process: slow clients, a thousand streams, large bodies."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
import uvloop

from llm_audit.journal.reader import WriterReader
from proxy_process import worker
from proxy_stage import CALLER, Client, Model, UpstreamCall, call, ok

MIB = 2**20


def with_upstream(script, main):
    """Run ``main(port)`` beside a model server that plays the script."""

    async def limited() -> None:
        model = Model([script])
        server = await asyncio.start_server(model.serve, "127.0.0.1", 0, limit=2**26, backlog=4096)
        try:
            async with asyncio.timeout(60):
                await main(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for upstream in model.calls:
                upstream.writer.transport.abort()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(limited())


async def connect(port: int) -> Client:
    """A connection to the worker."""
    return Client(*await asyncio.open_connection("127.0.0.1", port, limit=2**16))


def peak_of(one, seconds_of):
    """Watch a worker's own memory while something runs; a task that gives the peak once cancelled."""
    peak = [one.resident()]

    async def watch() -> None:
        while True:
            peak[0] = max(peak[0], one.resident())
            await asyncio.sleep(seconds_of)

    return peak, asyncio.ensure_future(watch())


def test_a_client_that_takes_nothing_does_not_fill_the_proxys_memory(tmp_path):
    sent = [0]

    async def flood(upstream: UpstreamCall) -> None:
        await upstream.read_body()
        await upstream.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (200 * MIB))
        try:
            for _ in range(200):
                await upstream.send(b"x" * MIB)
                sent[0] += 1
        except ConnectionError:
            pass

    async def main(port: int) -> None:
        with worker(tmp_path / "w-00000001", port) as (one, proxy_port):
            client = await connect(proxy_port)
            before = one.resident()
            peak, watching = peak_of(one, 0.01)
            await client.send(call())
            await client.head()
            client.writer.transport.pause_reading()
            unchanged = 0
            last = -1
            while unchanged < 20:  # the model server cannot get rid of more
                unchanged = unchanged + 1 if sent[0] == last else 0
                last = sent[0]
                await asyncio.sleep(0.02)
            assert sent[0] < 50
            assert peak[0] - before < 8 * MIB
            client.writer.transport.resume_reading()
            left = 200 * MIB
            while left:
                piece = await client.reader.read(MIB)
                assert piece
                left -= len(piece)
            watching.cancel()
            client.writer.transport.abort()
            assert peak[0] - before < 12 * MIB

    with_upstream(flood, main)


def test_a_thousand_open_streams_take_less_than_150_mb(tmp_path):
    streams = 1000
    go_on = asyncio.Event()

    async def stream(upstream: UpstreamCall) -> None:
        await upstream.read_body()
        await upstream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(5):
            await upstream.send(b"c8\r\n" + b"x" * 200 + b"\r\n")
        await go_on.wait()
        await upstream.send(b"0\r\n\r\n")

    async def main(port: int) -> None:
        with worker(tmp_path / "w-00000001", port) as (one, proxy_port):
            clients = []
            for _ in range(streams):
                client = await connect(proxy_port)
                await client.send(call(b'{"model":"m","x":"' + b"y" * 2000 + b'"}'))
                clients.append(client)
            for client in clients:
                await client.head()
                came = 0
                while came < 1000:  # chunks that come together go on together
                    size = int(await client.reader.readline(), 16)
                    await client.reader.readexactly(size + 2)
                    came += size
            assert one.rss() < 150 * MIB
            go_on.set()
            for client in clients:
                assert await client.reader.readexactly(5) == b"0\r\n\r\n"
                client.writer.transport.abort()

    with_upstream(stream, main)


BIG = bytes(range(256)) * (20 * MIB // 256)


@pytest.mark.parametrize("durability", ["PROCESS", "HOST"])
def test_20_mb_each_way_take_less_than_five_copies(tmp_path, durability):
    async def echo(upstream: UpstreamCall) -> None:
        body = await upstream.read_body()
        assert hashlib.sha256(body).digest() == hashlib.sha256(BIG).digest()
        await upstream.send(ok(body))

    async def main(port: int) -> None:
        with worker(tmp_path / "w-00000001", port, durability=durability) as (one, proxy_port):
            client = await connect(proxy_port)
            before = one.rss()
            peak = [before]

            async def watch() -> None:
                while True:
                    peak[0] = max(peak[0], one.rss())
                    await asyncio.sleep(0.002)

            watching = asyncio.ensure_future(watch())
            await client.send(call(BIG))
            await client.head()
            body = await client.reader.readexactly(len(BIG))
            watching.cancel()
            assert body == BIG
            assert peak[0] - before < 5 * len(BIG)
            client.writer.transport.abort()
            assert one.stop() == 0
        reader = WriterReader(tmp_path / "w-00000001")
        (ended,) = reader.poll()
        assert b"".join(ended.request_body) == b"".join(chunk.data for chunk in ended.chunks) == BIG
        reader.close()

    with_upstream(echo, main)


def test_a_client_that_leaves_gives_the_memory_of_its_call_back(tmp_path):
    async def silent(upstream: UpstreamCall) -> None:
        await upstream.gone()

    async def main(port: int) -> None:
        with worker(tmp_path / "w-00000001", port) as (one, proxy_port):
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n" + CALLER
            before = one.resident()
            for _ in range(10):
                client = await connect(proxy_port)
                await client.send(head + b"content-length: %d\r\n\r\n" % len(BIG) + BIG[: len(BIG) // 2])
                client.reset()
            client = await connect(proxy_port)
            await client.send(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
            await client.head()
            while one.resident() - before > 40 * MIB:
                await asyncio.sleep(0.02)
            client.writer.transport.abort()

    with_upstream(silent, main)
