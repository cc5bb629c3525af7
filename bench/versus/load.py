"""Clients that are not the bottleneck: a fixed number of streams, and calls at a fixed rate.

    python -m bench.versus.load streams PORT CONCURRENT TOTAL CHUNK_MS
    python -m bench.versus.load rate PORT PER_SECOND SECONDS

Each prints one JSON line. ``rate`` is an open loop: a call's latency counts from when it was due, so a server that
falls behind is charged for the waiting (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from typing import cast

import uvloop

HEADERS = (
    "host: bench\r\nauthorization: Bearer x\r\ncontent-type: application/json\r\n"
    "x-llm-source: bench\r\nx-llm-user: ann\r\nx-llm-request-type: ask\r\n"
)
_MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
SMALL = json.dumps({"model": "m", "messages": _MESSAGES, "temperature": 0, "max_tokens": 40}).encode()


def request(body: bytes, more: str = "") -> bytes:
    """Give a chat call as bytes."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\n{HEADERS}{more}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Streams:
    """So many streams in all, so many at a time."""

    def __init__(self, total: int, chunk_ms: int) -> None:
        """Nothing is connected yet."""
        body = json.dumps({"model": "m", "messages": _MESSAGES, "stream": True}, separators=(",", ":"))
        self.request = request(body.encode(), f"x-bench-chunk-ms: {chunk_ms}\r\n")
        self.left = total
        self.whole = self.failed = 0


class _Streaming(asyncio.Protocol):
    def __init__(self, streams: Streams, over: asyncio.Future[None]) -> None:
        self._streams, self._over = streams, over
        self._tail = b""
        self._is_ok: bool | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        asyncio.get_running_loop().call_soon(
            self._next
        )  # closed in here, create_connection would wait for ever

    def _next(self) -> None:
        if not self._streams.left:
            self._transport.close()
            return
        self._streams.left -= 1
        self._tail, self._is_ok = b"", None
        self._transport.write(self._streams.request)

    def data_received(self, data: bytes) -> None:
        if self._is_ok is None:
            self._is_ok = data.startswith(b"HTTP/1.1 200")
        self._tail = (self._tail + data)[-5:]
        if not self._is_ok:
            self._streams.failed += 1
            self._transport.close()
        elif self._tail == b"0\r\n\r\n":
            self._streams.whole += 1
            self._next()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._over.done():
            self._over.set_result(None)


async def run_streams(port: int, concurrent: int, total: int, chunk_ms: int) -> dict[str, float]:
    """Run them; give how many were whole."""
    loop = asyncio.get_running_loop()
    streams = Streams(total, chunk_ms)
    began = time.perf_counter()
    ends = []
    for _ in range(concurrent):
        over: asyncio.Future[None] = loop.create_future()
        ends.append(over)
        await loop.create_connection(lambda over=over: _Streaming(streams, over), "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.gather(*ends)
    return {"calls": streams.whole, "failed": total - streams.whole, "seconds": time.perf_counter() - began}


class _Caller(asyncio.Protocol):
    """One connection of the open loop; one call at a time."""

    def __init__(self, loop: OpenLoop) -> None:
        self._loop = loop
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._due: float | None = None
        self._read = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def call(self, due: float) -> None:
        self._due = due
        self._transport.write(self._loop.request)

    def data_received(self, data: bytes) -> None:
        self._read += data
        end = self._read.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._read[:end]).lower()
        at = head.find(b"content-length:")
        if at < 0:
            is_whole = self._read.endswith(b"0\r\n\r\n")
        else:
            is_whole = len(self._read) >= end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])
        if is_whole:
            self._read.clear()
            due, self._due = self._due, None
            assert due is not None
            self._loop.answered(self, due, is_ok=head.startswith(b"http/1.1 200"))

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost.set_result(None)
        if self._due is not None:
            self._loop.answered(None, self._due, is_ok=False)

    def close(self) -> asyncio.Future[None]:
        """Close; the future is done once it is closed."""
        self._transport.close()
        return self.lost


class OpenLoop:
    """Calls that begin when they are due, whatever became of those before."""

    CONNECTIONS = 256

    def __init__(self, per_second: float, seconds: float) -> None:
        """Nothing is connected yet."""
        self.request = request(SMALL)
        self._idle: list[_Caller] = []
        self._waiting: deque[float] = deque()
        self._latencies: list[float] = []
        self._failed = 0
        self._total = int(per_second * seconds)
        self._gap = 1 / per_second
        self._done = asyncio.Event()

    def answered(self, caller: _Caller | None, due: float, *, is_ok: bool) -> None:
        """Take a latency down; whoever waits for a connection gets this one."""
        if is_ok:
            self._latencies.append(time.perf_counter() - due)
        else:
            self._failed += 1
        if caller is not None:
            if self._waiting:
                caller.call(self._waiting.popleft())
            else:
                self._idle.append(caller)
        if len(self._latencies) + self._failed >= self._total:
            self._done.set()

    async def run(self, port: int) -> dict[str, float]:
        """Run; give percentiles in milliseconds."""
        loop = asyncio.get_running_loop()
        callers = []
        for _ in range(self.CONNECTIONS):
            _, caller = await loop.create_connection(lambda: _Caller(self), "127.0.0.1", port)
            callers.append(caller)
        self._idle.extend(callers)
        began = time.perf_counter()
        for number in range(self._total):
            due = began + number * self._gap
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            if self._idle:
                self._idle.pop().call(due)
            else:
                self._waiting.append(due)
        await asyncio.wait_for(self._done.wait(), 60)
        await asyncio.gather(*(caller.close() for caller in callers))
        latencies = sorted(self._latencies) or [float("nan")]
        return {
            "calls": len(self._latencies),
            "failed": self._failed,
            "p50": latencies[len(latencies) // 2] * 1000,
            "p99": latencies[int(len(latencies) * 0.99)] * 1000,
        }


async def _main(kind: str, *numbers: float) -> dict[str, float]:
    if kind == "streams":
        port, concurrent, total, chunk_ms = (int(number) for number in numbers)
        return await run_streams(port, concurrent, total, chunk_ms)
    port, per_second, seconds = numbers
    return await OpenLoop(per_second, seconds).run(int(port))


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_main(sys.argv[1], *(float(one) for one in sys.argv[2:])))))
