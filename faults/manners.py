"""What clients do to a proxy: each manner is one call made badly, on a raw socket, written down in the ledger."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from faults.clients import Call, parse_response, read_response, request
from faults.scripts import BYTES, body_for

LARGE = 16 << 20
"""Bytes of an answer that no socket's buffers hold."""

Playing = Callable[[int, Call, int], Awaitable[None]]
"""Port, call, and for how many seconds the proxy waits for a client."""


class Manner(NamedTuple):
    """One way to behave."""

    kind: str
    name: str
    play: Playing
    body: bytes
    expected: tuple[str, ...]
    """What may come of it: ``outcome status``, or ``no record``."""


async def _opened(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def _leave_in_head(port: int, call: Call, _waits: int) -> None:
    _, writer = await _opened(port)
    writer.write(request(call)[:100])
    await writer.drain()
    writer.close()


async def _leave_in_body(port: int, call: Call, _waits: int) -> None:
    reader, writer = await _opened(port)
    whole = request(call, fields=b"expect: 100-continue\r\n")
    writer.write(whole[: -len(call.sent)])
    await reader.readuntil(b"\r\n\r\n")
    writer.write(call.sent[:10])
    await writer.drain()
    writer.close()


async def _leave_before_answer(port: int, call: Call, _waits: int) -> None:
    reader, writer = await _opened(port)
    whole = request(call, fields=b"expect: 100-continue\r\n")
    writer.write(whole[: -len(call.sent)])
    await reader.readuntil(b"\r\n\r\n")  # so that the proxy has begun it, however busy the machine is
    writer.write(call.sent)
    await asyncio.sleep(0.05)
    writer.transport.abort()


async def _half_close(port: int, call: Call, _waits: int) -> None:
    reader, writer = await _opened(port)
    writer.write(request(call))
    writer.write_eof()
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await read_response(reader, call)
    writer.close()


async def _leave_in_answer(port: int, call: Call, _waits: int) -> None:
    reader, writer = await _opened(port)
    writer.write(request(call))
    call.head = await reader.readuntil(b"\r\n\r\n")
    call.status = int(call.head[9:12])
    call.content = (await reader.readuntil(b"\n\n")).partition(b"\r\n")[2]
    writer.transport.abort()


async def _leave_after_answer(port: int, call: Call, _waits: int) -> None:
    reader, writer = await _opened(port)
    writer.write(request(call))
    await read_response(reader, call)
    writer.transport.abort()


async def _trickle(port: int, call: Call, start: int, limit: int) -> None:
    """Send a byte a second from ``start`` on, until the proxy answers; then it must end the connection."""
    reader, writer = await _opened(port)
    whole = request(call)
    writer.write(whole[:start])
    answer = asyncio.create_task(read_response(reader, call))
    sent = start
    while not answer.done() and sent - start < limit:
        await asyncio.wait({answer}, timeout=1.0)
        with contextlib.suppress(OSError):
            writer.write(whole[sent : sent + 1])
        sent += 1
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await answer
        named = call.head.lower().partition(b"x-request-id: ")[2]
        call.request_id = named.partition(b"\r\n")[0].decode()
        call.ended = call.ended and not await reader.read()
    writer.transport.abort()


async def _trickle_head(port: int, call: Call, waits: int) -> None:
    await _trickle(port, call, 20, waits + 10)


async def _trickle_body(port: int, call: Call, waits: int) -> None:
    await _trickle(port, call, len(request(call)) - len(call.sent), waits + 10)


async def _read_slowly(port: int, call: Call, waits: int) -> None:
    """Take a byte a second for longer than the proxy waits, then what is left."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, request(call))
        wire = bytearray()
        for _ in range(waits + 3):
            wire += await loop.sock_recv(sock, 1)
            await asyncio.sleep(1.0)
        with contextlib.suppress(OSError):
            while piece := await loop.sock_recv(sock, 1 << 16):
                wire += piece
    parse_response(call, bytes(wire))


_BEFORE, _DURING, _AFTER, _SLOW = "leaves before its answer", "leaves during its answer", "leaves after its answer", "sends a byte a second"  # fmt: skip

MANNERS = [
    Manner(_BEFORE, "in its head", _leave_in_head, body_for("good"), ("no record",)),
    Manner(_BEFORE, "in its body", _leave_in_body, body_for("good"), ("client_disconnected None",)),
    Manner(_BEFORE, "behind its request", _leave_before_answer, body_for("stalls: says nothing"), ("client_disconnected None",)),
    Manner(_BEFORE, "by half, behind its request", _half_close, body_for("stalls: says nothing"), ("client_disconnected None",)),
    Manner(_DURING, "in a stream", _leave_in_answer, body_for("stalls: stalls in a stream"), ("client_disconnected 200",)),
    Manner(_AFTER, "an answer", _leave_after_answer, body_for("good"), ("complete 200",)),
    Manner(_AFTER, "a stream", _leave_after_answer, body_for("good-stream"), ("complete 200",)),
    Manner(_SLOW, "of its head", _trickle_head, body_for("good"), ("rejected 408",)),
    Manner(_SLOW, "of its body", _trickle_body, body_for("good" + " " * 200), ("client_disconnected 408",)),
    Manner("takes a byte a second", "of its answer", _read_slowly, body_for(f"{BYTES}{LARGE}"), ("client_disconnected 200",)),
]  # fmt: skip
