"""One HTTP/1.1 connection of the demo server: requests in, replies out, in order.

llhttp parses (``httptools``); here is what it leaves to a server: 100-continue, keep-alive and its idle limit,
chunked streams, HTTP/1.0 clients, HEAD, backpressure, and a client that leaves.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast

import httptools

from llm_audit.demo.app import Meter, Request, respond
from llm_audit.demo.reply import Piece, Reply, Stamp

KEEP_ALIVE_SECONDS = 5.0
"""As uvicorn, under vLLM: a connection that is idle for so long is closed."""

MAX_BODY_BYTES = 256 * 1024 * 1024
MAX_WAITING = 8
"""Pipelined requests that may wait; then reading stops until one is answered."""

GARBAGE = Reply(400, (Piece(b"Invalid HTTP request received."),), "text/plain; charset=utf-8")
TOO_LARGE = Reply(413, (Piece(b"Request body too large."),), "text/plain; charset=utf-8")


@dataclass(slots=True)
class Service:
    """What all connections of one server share."""

    pace: float = 0.0
    """Seconds that each generated token takes."""
    meter: Meter = field(default_factory=Meter)
    connections: set[Connection] = field(default_factory=set)
    stopping: bool = False
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while no connection is open."""

    def opened(self, connection: Connection) -> None:
        """Count a connection."""
        self.connections.add(connection)
        self.empty.clear()

    def closed(self, connection: Connection) -> None:
        """Count it no more."""
        self.connections.discard(connection)
        if not self.connections:
            self.empty.set()


@dataclass(slots=True)
class Waiting:
    """A request that waits for its answer, or the refusal of what could not be read."""

    request: Request | None
    refusal: Reply | None
    keep_alive: bool
    http_1_1: bool


class Connection(asyncio.Protocol):
    """The protocol of one connection, and llhttp's callbacks."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[Waiting] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._refused = False
        self._start_request()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new connection."""
        # uvloop's transports are transports in all but their base class.
        self._transport = cast("asyncio.Transport", transport)
        self._service.opened(self)
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Stop generating: the client is gone."""
        self._service.closed(self)
        self._transport = None
        if self._idle:
            self._idle.cancel()
        if self._worker:
            self._worker.cancel()

    def pause_writing(self) -> None:
        """Wait: the client is slower than the model."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._refused:
            return
        if self._idle:
            self._idle.cancel()
            self._idle = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # No upgrade is spoken here, and what follows can't be told from a body: answer, then close.
            self._refused = True
            if self._waiting:
                self._waiting[-1].keep_alive = False
        except httptools.HttpParserError:
            self._refuse(GARBAGE)

    # llhttp's side

    def on_message_begin(self) -> None:
        """Begin the next request."""
        self._start_request()

    def on_url(self, url: bytes) -> None:
        """Take a part of the request target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers come here too, and are dropped."""
        if not self._head_complete:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Tell a client that waits with its body to go on."""
        self._head_complete = True
        expects = self._headers.get("expect", "").lower() == "100-continue"
        if expects and self._parser.get_http_version() == "1.1" and not self._worker and self._transport:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body += body
        if len(self._body) > MAX_BODY_BYTES:
            self._refuse(TOO_LARGE)

    def on_message_complete(self) -> None:
        """Answer the request, after those before it."""
        if self._refused:
            return
        path = bytes(self._target).decode("latin-1").partition("?")[0]
        method = self._parser.get_method().decode("ascii")
        request = Request(method, path, self._headers, bytes(self._body))
        http_1_1 = self._parser.get_http_version() == "1.1"
        self._enqueue(Waiting(request, None, self._parser.should_keep_alive(), http_1_1))

    # between the two

    def close_when_done(self) -> None:
        """Close now if nothing is being answered, else after the answer."""
        if not self._worker and self._transport:
            self._transport.close()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport:
            self._transport.abort()

    def _start_request(self) -> None:
        self._target = bytearray()
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._head_complete = False

    def _refuse(self, reply: Reply) -> None:
        if not self._refused:
            self._refused = True
            self._enqueue(Waiting(None, reply, keep_alive=False, http_1_1=True))

    def _enqueue(self, waiting: Waiting) -> None:
        self._waiting.append(waiting)
        if self._worker is None:
            self._worker = asyncio.get_running_loop().create_task(self._answer_all())
            self._worker.add_done_callback(self._worker_ended)
        elif len(self._waiting) >= MAX_WAITING and self._transport:
            self._transport.pause_reading()

    def _worker_ended(self, worker: asyncio.Task[None]) -> None:
        error = None if worker.cancelled() else worker.exception()
        if error:
            context = {"message": "demo server: no answer", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            self.abort()

    def _wait_for_request(self) -> None:
        if self._transport:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(KEEP_ALIVE_SECONDS, self._transport.close)

    async def _answer_all(self) -> None:
        while self._waiting and self._transport:
            waiting = self._waiting[0]
            await self._answer(waiting)
            self._waiting.popleft()
            if not waiting.keep_alive or self._service.stopping:
                self._close()
                return
            if self._transport and not self._transport.is_reading():
                self._transport.resume_reading()
        self._worker = None
        self._wait_for_request()

    def _close(self) -> None:
        self._refused = True
        if self._transport:
            self._transport.close()

    async def _answer(self, waiting: Waiting) -> None:
        request = waiting.request
        given = request.headers.get("x-request-id") if request else None
        stamp = Stamp(given or os.urandom(16).hex(), int(time.time()))
        if request:
            reply = respond(request, stamp, self._service.meter)
        else:
            assert waiting.refusal is not None
            reply = waiting.refusal
        if not reply.finish:
            await self._send(waiting, reply, stamp)
            return
        meter = self._service.meter
        meter.running += 1
        meter.prompt_tokens += reply.prompt_tokens
        ended = "abort"
        try:
            await self._send(waiting, reply, stamp)
            ended = reply.finish
        finally:
            meter.running -= 1
            meter.finished[ended] += 1

    async def _send(self, waiting: Waiting, reply: Reply, stamp: Stamp) -> None:
        chunked = reply.stream and waiting.http_1_1
        # A stream to an HTTP/1.0 client ends with the connection (RFC 9112, section 6.3).
        waiting.keep_alive = (
            waiting.keep_alive and (chunked or not reply.stream) and not self._service.stopping
        )
        headless = waiting.request is not None and waiting.request.method == "HEAD"
        if not reply.stream:
            body = b""
            for piece in reply.pieces:
                await self._generate(piece)
                body += piece.data
            head = _head(reply, waiting, stamp, f"content-length: {len(body)}")
            await self._write(head if headless else head + body)
            return
        await self._write(_head(reply, waiting, stamp, "transfer-encoding: chunked" if chunked else None))
        for piece in reply.pieces:
            await self._generate(piece)
            await self._write(b"%x\r\n%b\r\n" % (len(piece.data), piece.data) if chunked else piece.data)
        if chunked:
            await self._write(b"0\r\n\r\n")

    async def _generate(self, piece: Piece) -> None:
        if piece.tokens:
            await asyncio.sleep(self._service.pace * piece.tokens)
            self._service.meter.generation_tokens += piece.tokens

    async def _write(self, data: bytes) -> None:
        if self._transport is None:
            raise asyncio.CancelledError
        self._transport.write(data)
        # A turn of the loop between two writes keeps each event a write of its own.
        await asyncio.sleep(0)
        await self._writable.wait()


def _head(reply: Reply, waiting: Waiting, stamp: Stamp, framing: str | None) -> bytes:
    lines = [
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
        f"date: {time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime())}",
        "server: llm-audit-demo",
        *([f"content-type: {reply.content_type}"] if reply.content_type else []),
        *(f"{name}: {value}" for name, value in reply.headers),
        f"x-request-id: {stamp.request_id}",
        *([framing] if framing else []),
        *([] if waiting.keep_alive else ["connection: close"]),
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
