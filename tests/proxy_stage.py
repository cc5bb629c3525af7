"""A proxy on a stage: real sockets, a real journal, and a model server that plays a script.

Everything runs on one event loop of one test, so that a test needs no process and no waiting: it awaits what
it is interested in, byte by byte, and reads the journal afterwards with the reader that the shipper uses.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import uvloop

from llm_audit.journal.model import Durability, EndedExchange
from llm_audit.journal.reader import WriterReader
from llm_audit.journal.writer import JournalWriter
from llm_audit.proxy.config import ProxyConfig
from llm_audit.proxy.gate import Gate
from llm_audit.proxy.keys import KeyRing
from llm_audit.proxy.paths import PathTable
from llm_audit.proxy.server import ServerProtocol
from llm_audit.proxy.service import Service
from llm_audit.proxy.upstream import UpstreamPool
from llm_audit.proxy.usage_plan import UsagePlan

CALLER = (
    b"x-llm-source: finance-app\r\nx-llm-user: ann\r\nx-llm-request-type: ask\r\n"
    b"x-request-id: 01890a5d-ac96-774b-bcce-b302099a8057\r\n"
)
REQUEST_ID = bytes.fromhex("01890a5dac96774bbcceb302099a8057")


def call(
    body: bytes = b'{"model":"m"}',
    *,
    path: bytes = b"/v1/chat/completions",
    headers: bytes = CALLER,
    method: bytes = b"POST",
    version: bytes = b"HTTP/1.1",
) -> bytes:
    """A whole request."""
    length = b"content-length: %d\r\n" % len(body)
    return b"%b %b %b\r\nhost: a\r\n%b%b\r\n%b" % (method, path, version, headers, length, body)


def ok(body: bytes = b'{"id":"1"}', *, headers: bytes = b"") -> bytes:
    """A whole response."""
    return b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (headers, len(body), body)


Script = Callable[["UpstreamCall"], Awaitable[None]]


class UpstreamCall:
    """One request as it reached the scripted model server, and the means to answer it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        self.reader = reader
        self.writer = writer
        self.head = head
        self.body = b""

    async def read_body(self) -> bytes:
        """Read what the request's length announces."""
        for line in self.head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                self.body = await self.reader.readexactly(int(value))
        return self.body

    async def send(self, *pieces: bytes) -> None:
        """Send pieces, each in a write of its own that is drained before the next."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()

    async def gone(self) -> None:
        """Wait until the proxy has closed the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass

    def close(self) -> None:
        """End the connection in order."""
        self.writer.close()

    def reset(self) -> None:
        """End the connection with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.writer.transport.abort()


def answer(*pieces: bytes) -> Script:
    """A script that reads the request and sends these pieces, keeping the connection."""

    async def play(upstream: UpstreamCall) -> None:
        await upstream.read_body()
        await upstream.send(*pieces)

    return play


class Model:
    """The scripted model server; each request takes the next script, the last one again and again."""

    def __init__(self, scripts: Sequence[Script]) -> None:
        self._scripts = list(scripts)
        self.calls: list[UpstreamCall] = []
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Play on one connection."""
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                upstream = UpstreamCall(reader, writer, head)
                self.calls.append(upstream)
                script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
                await script(upstream)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Client:
    """A raw connection to the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        """Read a response's head."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def response(self) -> tuple[int, bytes, bytes]:
        """Read a whole response that has a length or chunks: status, head, body."""
        head = await self.head()
        lines = head.lower().split(b"\r\n")
        status = int(lines[0].split(b" ")[1])
        for line in lines:
            if line.startswith(b"content-length:"):
                return status, head, await self.reader.readexactly(int(line[15:]))
            if line == b"transfer-encoding: chunked":
                return status, head, await self.chunks()
        return status, head, b""

    async def chunks(self) -> bytes:
        """Read a chunked body to its last chunk."""
        body = b""
        while True:
            size = int(await self.reader.readline(), 16)
            piece = await self.reader.readexactly(size + 2)
            if not size:
                return body
            body += piece[:-2]

    async def rest(self) -> bytes:
        """Read until the proxy ends the connection."""
        data = b""
        try:
            while piece := await self.reader.read(65536):
                data += piece
        except ConnectionError:
            pass
        return data

    def reset(self) -> None:
        """End the connection with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.writer.transport.abort()


class Stage:
    """The proxy between its clients and its scripted model server."""

    def __init__(
        self, service: Service, port: int, model: Model, directory: Path, writer: JournalWriter
    ) -> None:
        self.service = service
        self.port = port
        self.model = model
        self.directory = directory
        self.writer = writer
        self.clients: list[Client] = []

    async def client(self) -> Client:
        """Open a connection."""
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, limit=2**20))
        self.clients.append(client)
        return client

    async def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        """Send one request on a connection of its own and read the whole answer."""
        client = await self.client()
        await client.send(request)
        return await client.response()

    async def settled(self) -> None:
        """Wait until no exchange is under way any more."""
        while self.writer.open_count:
            await asyncio.sleep(0.001)

    async def exchanges(self, count: int) -> list[EndedExchange]:
        """Wait until nothing is under way; read the journal, and see that it holds just so many exchanges."""
        await self.settled()
        reader = WriterReader(self.directory)
        try:
            ended: list[EndedExchange] = []
            while batch := reader.poll():
                ended += [
                    one._replace(request_body=list(one.request_body), chunks=list(one.chunks))
                    for one in batch
                ]
            assert [one.sequence for one in ended] == list(range(count))
            return ended
        finally:
            reader.close()

    async def only_exchange(self) -> EndedExchange:
        """Read the journal, which holds one exchange."""
        return (await self.exchanges(1))[0]


def response_body(ended: EndedExchange) -> bytes:
    """The recorded response's content."""
    return b"".join(chunk.data for chunk in ended.chunks)


@asynccontextmanager
async def stage(directory: Path, *scripts: Script, **settings: object) -> AsyncIterator[Stage]:
    """Set everything up on free loopback ports, and take it down again.

    ``settings`` are fields of ProxyConfig. The ticker does not run: a test that wants time to pass calls
    ``stage.service.tick()`` with a clock of its own.
    """
    loop = asyncio.get_running_loop()
    model = Model(scripts or (answer(ok()),))
    upstream_server = await asyncio.start_server(model.serve, "127.0.0.1", 0, limit=2**26)
    model.port = upstream_server.sockets[0].getsockname()[1]
    config = ProxyConfig(
        writer_dir=directory / "w-00000001",
        usage_dir=directory,
        upstream_host="127.0.0.1",
        upstream_port=model.port,
        **{"durability": Durability.PROCESS, "journal_limit_bytes": 64 * 2**20, **settings},  # type: ignore[arg-type]
    )
    pool = UpstreamPool(loop, config.upstream_host, config.upstream_port, None, config.authority)
    keys = plan = None
    if config.api_keys is not None:
        keys, plan = KeyRing(config.api_keys), UsagePlan(directory / "counters")
    gate = Gate(PathTable(config.extra_paths), keys=keys, plan=plan, gateway_secret=config.gateway_secret)
    service = Service(loop, config, gate, pool)
    writer = JournalWriter.open(
        config.writer_dir,
        settings=config.record,
        durability=config.durability,
        limit_bytes=config.journal_limit_bytes,
        loop=loop,
        on_failure=service.journal_failed,
    )
    service.use_writer(writer)
    server = await loop.create_server(lambda: ServerProtocol(service), "127.0.0.1", 0)
    one = Stage(service, server.sockets[0].getsockname()[1], model, config.writer_dir, writer)
    try:
        yield one
    finally:
        server.close()
        for client in one.clients:
            client.writer.transport.abort()
        service.interrupt_all("the test is over")
        pool.close()
        upstream_server.close()
        for upstream in model.calls:
            upstream.writer.transport.abort()
        await asyncio.sleep(0)
        writer.close()
        if plan is not None:
            plan.close()


def play(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine on uvloop, as the proxy does; ten seconds are far more than any needs."""

    async def limited() -> None:
        async with asyncio.timeout(20):
            await main()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(limited())
