"""Clients on raw sockets that write down every byte they receive: the ledger. Standard library only."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

BODIES = {
    "plain": b'{"model":"m","messages":[{"role":"user","content":"Count to 5"}]}',
    "stream": b'{"model":"m","messages":[{"role":"user","content":"Count to 40"}],"stream":true}',
}
"""What the demo model server is asked, streamed and not."""

ANY = tuple(BODIES.values())

SOURCE = "faults"


@dataclass(slots=True)
class Call:
    """What one client saw of one call."""

    request_id: str
    sent: bytes
    """The request's body."""
    status: int | None = None
    head: bytes = b""
    """Status line and header fields as they came, once they were whole."""
    content: bytes = b""
    """The response's content, without its transfer coding, as far as it came."""
    ended: bool = False
    """The message's framing said that it is over."""

    @property
    def code(self) -> str | None:
        """``error.code`` of a refusal, as the client was told it."""
        if self.status is None or self.status < 400 or b'"code":"' not in self.content:
            return None
        return self.content.rpartition(b'"code":"')[2].partition(b'"')[0].decode()

    @property
    def is_its_own(self) -> bool:
        """Tell whether the answer names this call's id, as those of the scripted model server do."""
        return b'"id":"%b"' % self.request_id.encode() in self.content


@dataclass(slots=True)
class Ledger:
    """What all clients saw."""

    calls: list[Call] = field(default_factory=list)
    refused_connections: int = 0

    def copy(self) -> Ledger:
        """Take down what clients have seen so far, while they go on."""
        # "ended" first: a call that ends meanwhile must not seem to have ended with less than it had.
        seen = [(call.ended, call) for call in self.calls]
        calls = [
            Call(call.request_id, call.sent, call.status, call.head, call.content, ended)
            for ended, call in seen
        ]
        return Ledger(calls, self.refused_connections)

    @property
    def acknowledged(self) -> int:
        """Calls with at least a status."""
        return sum(call.status is not None for call in self.calls)

    @property
    def whole(self) -> int:
        """Calls whose response ended at the client."""
        return sum(call.ended for call in self.calls)


def new_id(rng: random.Random) -> str:
    """Give a request id that the seed decides."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def request(call: Call, *, path: str = "/v1/chat/completions", fields: bytes = b"") -> bytes:
    """Give the bytes of a call's request."""
    return (
        b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nx-llm-source: %b\r\n"
        b"x-llm-user: u\r\nx-llm-request-type: t\r\nx-request-id: %b\r\n%bcontent-length: %d\r\n\r\n%b"
        % (path.encode(), SOURCE.encode(), call.request_id.encode(), fields, len(call.sent), call.sent)
    )


async def read_response(reader: asyncio.StreamReader, call: Call) -> None:
    """Read one response by its framing, keeping what came even where it is cut."""
    call.head = await reader.readuntil(b"\r\n\r\n")
    head = call.head.lower()
    call.status = int(head[9:12])
    if b"transfer-encoding: chunked" not in head:
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        call.ended = await _take(reader, call, length)
        return
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        if not await _take(reader, call, size):
            return
        await reader.readexactly(2)
        if not size:
            call.ended = True
            return


def parse_response(call: Call, wire: bytes) -> None:
    """Read one response out of everything that a connection brought, by its framing, cut or whole."""
    head, end, _ = wire.partition(b"\r\n\r\n")
    if not end:
        return
    call.head, call.status = head + end, int(head[9:12])
    at = len(call.head)
    if b"transfer-encoding: chunked" not in head.lower():
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        call.content = wire[at : at + length]
        call.ended = len(call.content) == length
        return
    pieces = []
    while (line := wire.find(b"\r\n", at)) >= 0:
        size = int(wire[at:line], 16)
        pieces.append(wire[line + 2 : line + 2 + size])
        at = line + 4 + size
        if not size:
            call.ended = at <= len(wire)
            break
    call.content = b"".join(pieces)


async def _take(reader: asyncio.StreamReader, call: Call, left: int) -> bool:
    while left:
        piece = await reader.read(left)
        if not piece:
            return False
        call.content += piece
        left -= len(piece)
    return True


class Client:
    """One client: a connection that it keeps or not, as its dice say, and one call after the other."""

    def __init__(self, port: int, ledger: Ledger, rng: random.Random, bodies: Sequence[bytes] = ANY) -> None:
        self._port = port
        self._ledger = ledger
        self._rng = rng
        self._bodies = bodies
        self._connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, *, request_id: str | None = None) -> Call | None:
        """Make one call and write down what comes; None where no connection could be made."""
        call = Call(request_id or new_id(self._rng), self._rng.choice(self._bodies))
        try:
            reader, writer = self._connection or await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            self._ledger.refused_connections += 1
            await asyncio.sleep(0.05)
            return None
        self._connection = None
        self._ledger.calls.append(call)
        try:
            writer.write(request(call))
            await read_response(reader, call)
        except (OSError, asyncio.IncompleteReadError):
            pass
        if call.ended and b"connection: close" not in call.head.lower() and self._rng.random() < 0.7:
            self._connection = reader, writer
        else:
            writer.transport.abort()
        return call

    def leave(self) -> None:
        """Give the kept connection up."""
        if self._connection is not None:
            self._connection[1].transport.abort()


async def keep_calling(
    port: int,
    ledger: Ledger,
    rng: random.Random,
    clients: int,
    over: Callable[[], bool],
    bodies: Sequence[bytes] = ANY,
    pause_s: float = 0.0,
) -> None:
    """Have so many clients call until ``over`` says so, each with a pause as asked; each finishes its last call."""

    async def one(own: random.Random) -> None:
        client = Client(port, ledger, own, bodies)
        while not over():
            await client.call()
            if pause_s:
                await asyncio.sleep(own.uniform(0, 2 * pause_s))
        client.leave()

    await asyncio.gather(*(one(random.Random(rng.getrandbits(64))) for _ in range(clients)))
