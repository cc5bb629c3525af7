"""HTTP/1.1 on real sockets, read back by h11 or as raw bytes."""

import asyncio
import time
from contextlib import suppress

import h11
import orjson
import pytest

from llm_audit.demo import connection
from llm_audit.demo.server import Settings, start

CHAT = b'{"messages":[{"role":"user","content":"Count to 3"}],"stream":true}'
COMPLETION = b'{"prompt":"Count to 500","max_tokens":500}'


def head(method, path, *lines, length=0, version="1.1"):
    framing = [f"content-length: {length}"] if length else []
    return "\r\n".join([f"{method} {path} HTTP/{version}", "host: demo", *framing, *lines, "", ""]).encode()


def post(body, *lines, path="/v1/chat/completions", version="1.1"):
    return head("POST", path, *lines, length=len(body), version=version) + body


def on_server(scenario, **settings):
    """Run a scenario against a server of its own in one event loop."""

    async def run():
        server = await start(Settings(port=0, grace=10, **({"pace": 0} | settings)))
        host, port = server.url.removeprefix("http://").split(":")
        writers = []

        async def connect():
            reader, writer = await asyncio.open_connection(host, int(port))
            writers.append(writer)
            return reader, writer

        try:
            async with asyncio.timeout(90):
                return await scenario(server, connect)
        finally:
            for writer in writers:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()
            await server.stop()

    return asyncio.run(run())


async def until(condition):
    """Let the server work until something is so."""
    while not condition():
        await asyncio.sleep(0.001)


async def exchange(connect, sent):
    """Send bytes, and read until the server closes."""
    reader, writer = await connect()
    writer.write(sent)
    return await reader.read()


class Client:
    """Reads replies with h11."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.state = reader, writer, h11.Connection(h11.CLIENT)

    async def event(self):
        while (event := self.state.next_event()) is h11.NEED_DATA:
            self.state.receive_data(await self.reader.read(65536))
        return event

    async def call(self, body, *headers):
        target = "/v1/chat/completions"
        framing = [("host", "demo"), ("content-length", str(len(body))), *headers]
        for event in (
            h11.Request(method="POST", target=target, headers=framing),
            h11.Data(body),
            h11.EndOfMessage(),
        ):
            self.writer.write(self.state.send(event))
        return await self.reply()

    async def reply(self):
        first, parts = await self.event(), []
        while not isinstance(event := await self.event(), h11.EndOfMessage):
            parts.append(bytes(event.data))
        self.state.start_next_cycle()
        return first, parts


def test_one_connection_serves_call_after_call():
    async def scenario(_, connect):
        client = Client(*await connect())
        return [await client.call(CHAT, ("x-request-id", f"call-{number}")) for number in range(3)]

    for number, (first, _) in enumerate(on_server(scenario)):
        assert first.status_code == 200
        assert (b"x-request-id", f"call-{number}".encode()) in first.headers.raw_items()


def test_each_event_of_a_stream_is_a_chunk_of_its_own():
    async def scenario(_, connect):
        client = Client(*await connect())
        return await client.call(CHAT)

    _, chunks = on_server(scenario)
    assert len(chunks) == 6  # role, three numbers, the finish, [DONE]
    assert all(chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") for chunk in chunks)
    assert all(chunk.count(b"\n\n") == 1 for chunk in chunks)


def test_each_event_of_a_stream_is_written_alone():
    async def scenario(_, connect):
        reader, writer = await connect()
        writes = []
        real_feed = reader.feed_data
        reader.feed_data = lambda data: (writes.append(bytes(data)), real_feed(data))
        writer.write(post(CHAT, "connection: close"))
        await reader.read()
        return writes

    # At a pace, so that the kernel has no cause to hand two writes over as one.
    writes = on_server(scenario, pace=0.02)
    assert sum(write.count(b'"content":"') for write in writes) == 4
    assert all(write.count(b'"content":" ') <= 1 for write in writes)


def test_pipelined_requests_are_answered_in_order():
    asked = [post(b'{"prompt":"Repeat: %d"}' % number, path="/v1/completions") for number in range(20)]
    sent = b"".join(asked) + head("GET", "/health", "connection: close")
    received = on_server(lambda _, connect: exchange(connect, sent))
    places = [received.index(b'"text":"%d"' % number) for number in range(20)]
    assert places == sorted(places)
    assert received.count(b"HTTP/1.1 200 OK") == 21


@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_request_may_arrive_in_pieces_of_any_size(size):
    sent = post(CHAT, "connection: close")

    async def scenario(_, connect):
        reader, writer = await connect()
        for at in range(0, len(sent), size):
            writer.write(sent[at : at + size])
            await writer.drain()
            await asyncio.sleep(0)
        return await reader.read()

    assert on_server(scenario).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_a_chunked_request_with_trailers_is_read():
    body = b"%x\r\n%b\r\n0\r\nx-request-id: from-a-trailer\r\n\r\n" % (len(CHAT), CHAT)
    sent = head("POST", "/v1/chat/completions", "transfer-encoding: chunked", "connection: close") + body
    received = on_server(lambda _, connect: exchange(connect, sent))
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert b"from-a-trailer" not in received


def test_a_client_that_expects_100_continue_is_told_to_go_on_before_it_sends_the_body():
    async def scenario(_, connect):
        reader, writer = await connect()
        writer.write(
            head(
                "POST", "/v1/chat/completions", "expect: 100-continue", "connection: close", length=len(CHAT)
            )
        )
        told = await reader.readuntil(b"\r\n\r\n")
        writer.write(CHAT)
        return told, await reader.read()

    told, received = on_server(scenario)
    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert received.startswith(b"HTTP/1.1 200 OK")


def test_a_head_request_gets_the_length_and_no_body():
    sent = head("HEAD", "/v1/models", "connection: close")
    received = on_server(lambda _, connect: exchange(connect, sent))
    assert received.endswith(b"\r\n\r\n")
    assert b"content-length: 0" not in received


def test_an_http_1_0_client_gets_a_stream_without_chunks_that_ends_with_the_connection():
    received = on_server(lambda _, connect: exchange(connect, post(CHAT, version="1.0")))
    opened, _, body = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in opened
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("sent", [b"GARBAGE\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: two\r\n\r\n"])
def test_what_is_no_http_is_refused_and_the_connection_closed(sent):
    received = on_server(lambda _, connect: exchange(connect, sent))
    assert received.startswith(b"HTTP/1.1 400 Bad Request")
    assert received.endswith(b"Invalid HTTP request received.")


def test_an_upgrade_is_not_honoured_and_its_connection_ends_with_the_answer():
    sent = head("GET", "/version", "connection: upgrade", "upgrade: websocket") + b"\x81\x05hello"
    received = on_server(lambda _, connect: exchange(connect, sent))
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert received.count(b"HTTP/1.1") == 1


def test_a_body_over_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(connection, "MAX_BODY_BYTES", 10)
    received = on_server(lambda _, connect: exchange(connect, post(CHAT)))
    assert received.startswith(b"HTTP/1.1 413 ")


def test_an_idle_connection_is_closed(monkeypatch):
    monkeypatch.setattr(connection, "KEEP_ALIVE_SECONDS", 0.05)
    received = on_server(lambda _, connect: exchange(connect, post(CHAT)))
    assert received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("body", [CHAT.replace(b"to 3", b"to 100000"), COMPLETION], ids=["stream", "whole"])
def test_a_client_that_leaves_ends_the_generation_and_is_counted(body):
    path = "/v1/completions" if body is COMPLETION else "/v1/chat/completions"

    async def scenario(server, connect):
        meter = server.service.meter
        reader, writer = await connect()
        writer.write(post(body, path=path))
        if body is not COMPLETION:
            await reader.readuntil(b'"content":" 3"')
        else:
            await until(lambda: meter.running)
        writer.transport.abort()
        await server.service.empty.wait()
        await until(lambda: not meter.running)
        generated = meter.generation_tokens
        await asyncio.sleep(0.02)
        return meter, generated

    meter, generated = on_server(scenario, pace=0.005)
    assert meter.finished["abort"] == 1
    assert meter.generation_tokens == generated < 500


def test_a_client_that_does_not_read_holds_the_stream_up():
    async def scenario(server, connect):
        reader, writer = await connect()
        writer.transport.pause_reading()
        # Tokens of 2 KB: more than all the buffers between the two take.
        words = " ".join([" " * 2000 + "x"] * 5000)
        body = orjson.dumps({"messages": [{"role": "user", "content": f"Repeat: y{words}"}], "stream": True})
        writer.write(post(body, "connection: close"))
        await until(lambda: any(not held._writable.is_set() for held in server.service.connections))
        meter = server.service.meter
        before = meter.generation_tokens
        writer.transport.resume_reading()
        received = 0
        while block := await reader.read(1 << 20):
            received += len(block)
        return before, meter.generation_tokens, received

    held, generated, received = on_server(scenario)
    assert held < generated == 5001
    assert received > 5000 * 2000


def test_the_pace_is_kept_streamed_and_not():
    async def scenario(_, connect):
        started = time.monotonic()
        await exchange(
            connect, post(b'{"prompt":"Count to 10"}', "connection: close", path="/v1/completions")
        )
        whole = time.monotonic() - started
        await exchange(connect, post(CHAT.replace(b"to 3", b"to 10"), "connection: close"))
        return whole, time.monotonic() - started - whole

    # Never faster than the pace; how much slower is the machine's business.
    assert all(seconds >= 10 * 0.01 for seconds in on_server(scenario, pace=0.01))


def test_a_fault_of_the_server_ends_the_connection_and_is_reported(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(connection, "respond", broken)

    async def scenario(_, connect):
        reported = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: reported.append(context["exception"])
        )
        try:
            received = await exchange(connect, post(CHAT))
        except ConnectionResetError:
            received = b""
        return received, reported

    received, reported = on_server(scenario)
    assert received == b""
    assert isinstance(reported[0], ZeroDivisionError)


def test_metrics_tell_what_was_generated():
    async def scenario(_, connect):
        await exchange(connect, post(CHAT, "connection: close"))
        return await exchange(connect, head("GET", "/metrics", "connection: close"))

    received = on_server(scenario).decode()
    assert 'vllm:generation_tokens_total{model_name="demo"} 3\n' in received
    assert 'vllm:request_success_total{finished_reason="stop",model_name="demo"} 1\n' in received
