"""One long-lived proxy for property-based tests: bytes go in piece by piece, and what came of them comes out.

Pieces are handed to the protocol as its transport would, so that a piece is exactly what the test says (a
socket may join two); everything else is real: the client's socket, the model server, the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h11
import uvloop

from llm_audit.journal.model import EndedExchange
from llm_audit.journal.reader import WriterReader
from llm_audit.proxy.exchange import State
from llm_audit.proxy.server import ServerProtocol
from proxy_stage import Script, Stage, UpstreamCall, ok, stage

EXTRA = ("/x", "GET /x", "HEAD /x", "PUT /x", "DELETE /x", "PATCH /x")
BIG = 2**26

Header = tuple[bytes, bytes]


@dataclass
class Message:
    """A request or a response, as h11 reads it."""

    start: tuple[bytes, bytes]
    """Method and target, or status and reason."""
    headers: list[Header]
    body: bytes = b""
    trailers: list[Header] = field(default_factory=list)
    complete: bool = False

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a field, by lower-case name."""
        return [value for key, value in self.headers if key.lower() == name]


@dataclass
class Outcome:
    """What became of the bytes that a client sent."""

    wire: bytes
    """Everything that the client received."""
    upstream: list[bytes]
    """Every request as it reached the model server, head and body."""
    closed: bool
    """Whether the proxy ended the connection."""
    ended: list[EndedExchange]
    """What the journal holds of it."""


async def polite(upstream: UpstreamCall) -> None:
    """Answer as the method asks: no body for HEAD."""
    await upstream.read_body()
    whole = ok()
    await upstream.send(
        whole[: whole.index(b"\r\n\r\n") + 4] if upstream.head.startswith(b"HEAD ") else whole
    )


class Wire:
    """The proxy, and a way to run one exchange after another on its loop."""

    def __init__(self, runner: asyncio.Runner, one: Stage) -> None:
        self.runner = runner
        self.stage = one
        self.script: Script = polite
        self.errors: list[dict[str, Any]] = []
        self.reader = WriterReader(one.directory, sync=lambda _: None)

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine; anything that reached the loop's exception handler meanwhile fails it."""

        async def limited() -> Any:
            async with asyncio.timeout(20):
                return await main

        self.errors.clear()
        result = self.runner.run(limited())
        assert not self.errors, self.errors
        return result

    def exchange(
        self, pieces: Iterable[bytes], *, script: Script = polite, leave_after: int | None = None
    ) -> Outcome:
        """Send the pieces on a connection of its own; the client leaves after so many bytes of the response."""
        self.script = script
        outcome = self.run(self._exchange(pieces, leave_after))
        assert isinstance(outcome, Outcome)
        return outcome

    async def _exchange(self, pieces: Iterable[bytes], leave_after: int | None) -> Outcome:
        calls = self.stage.model.calls
        calls.clear()
        self.journaled()
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        received: list[bytes] = []
        ours.setblocking(False)
        theirs.setblocking(False)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**22)
        protocol = ServerProtocol(self.stage.service)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, theirs)
        try:
            for piece in pieces:
                if transport.is_closing():
                    break
                if piece:
                    protocol.data_received(piece)
            if leave_after is None:
                await _quiet(protocol, transport, ours, received)
            else:
                while not calls or len(calls[0].body) < 1 or protocol.delivered < leave_after:
                    await asyncio.sleep(0)
            closed = transport.is_closing() or protocol._lingering is not None
            _receive(ours, received)
        finally:
            ours.close()
            transport.abort()
            await asyncio.sleep(0)
            while self.stage.writer.open_count:
                await asyncio.sleep(0.0005)
        return Outcome(
            b"".join(received), [call.head + call.body for call in calls], closed, self.journaled()
        )

    def journaled(self) -> list[EndedExchange]:
        """Read what the journal has got since this was last asked."""
        found: list[EndedExchange] = []
        while batch := self.reader.poll():
            for one in batch:
                found.append(one._replace(request_body=list(one.request_body), chunks=list(one.chunks)))
                self.reader.stored(one)
        return found


async def _quiet(
    protocol: ServerProtocol, transport: asyncio.BaseTransport, sock: socket.socket, received: list[bytes]
) -> None:
    """Wait until the proxy has nothing left to do: no exchange, or one that waits for the client."""
    still = 0
    while still < 3 and not transport.is_closing():  # a pipelined request begins from the loop, a turn later
        exchange = protocol.exchange
        still = still + 1 if exchange is None or exchange.state is State.RECEIVING else 0
        _receive(sock, received)  # a socket holds few messages of one byte
        await asyncio.sleep(0)


def _receive(sock: socket.socket, received: list[bytes]) -> None:
    with contextlib.suppress(BlockingIOError, ConnectionResetError):
        while piece := sock.recv(2**20):
            received.append(piece)


@contextmanager
def wire(directory: Path, **settings: object) -> Iterator[Wire]:
    """Set a stage up that many examples share."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = AsyncExitStack()
        held: list[Wire] = []

        async def play(upstream: UpstreamCall) -> None:
            await held[0].script(upstream)

        async def begin() -> Stage:
            one = await stack.enter_async_context(
                stage(directory, play, extra_paths=EXTRA, journal_limit_bytes=2**30, **settings)
            )
            one.service._budget = type(one.service._budget)(per_second=10**6)
            return one

        held.append(Wire(runner, runner.run(begin())))
        runner.get_loop().set_exception_handler(lambda _, context: held[0].errors.append(context))
        try:
            yield held[0]
        finally:
            held[0].reader.close()
            runner.run(stack.aclose())


def h11_requests(data: bytes) -> tuple[list[Message], str | None]:
    """Read requests as h11's server does; the second value is what it says against the rest, if anything."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=BIG)
    connection.receive_data(data)
    found: list[Message] = []
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                found.append(Message((event.method, event.target), list(event.headers.raw_items())))
            elif isinstance(event, h11.Data):
                found[-1].body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                found[-1].complete = True
                found[-1].trailers = list(event.headers.raw_items())
                _answer(connection)
                if connection.our_state is h11.MUST_CLOSE:
                    return found, None
                connection.start_next_cycle()
            else:
                return found, None
    except h11.RemoteProtocolError as error:
        return found, str(error)


def _answer(connection: h11.Connection) -> None:
    connection.send(h11.Response(status_code=404, headers=[(b"content-length", b"0")]))
    connection.send(h11.EndOfMessage())


def h11_responses(
    data: bytes, methods: list[bytes], *, ended: bool, complain: bool = True
) -> tuple[list[Message], str | None]:
    """Read the responses to requests of these methods as h11's client does."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=BIG)
    connection.receive_data(data)
    if ended:
        connection.receive_data(b"")
    found: list[Message] = []
    try:
        for method in methods:
            connection.send(h11.Request(method=method, target=b"/", headers=[(b"host", b"a")]))
            connection.send(h11.EndOfMessage())
            if not _read_response(connection, found):
                return found, None
            if (connection.our_state, connection.their_state) != (h11.DONE, h11.DONE):
                break
            connection.start_next_cycle()
    except h11.RemoteProtocolError as error:
        unanswered = connection.their_state is h11.ERROR and not connection.trailing_data[0]
        if unanswered and (not found or found[-1].complete):
            return found, None
        return found, str(error)
    rest = connection.trailing_data[0]
    return found, f"{len(rest)} bytes after the last response" if rest and complain else None


def _read_response(connection: h11.Connection, found: list[Message]) -> bool:
    """Read one response into the list; False where it has not ended."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            start = (b"%d" % event.status_code, bytes(event.reason))
            found.append(Message(start, list(event.headers.raw_items())))
        elif isinstance(event, h11.Data):
            found[-1].body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            found[-1].complete = True
            return True
        elif not isinstance(event, h11.InformationalResponse):
            return False
