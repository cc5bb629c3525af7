"""One connection to the model server: llhttp on a transport, and the pool that keeps it alive."""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Callable
from ssl import SSLContext
from typing import Final, cast

import httptools

from llm_audit.proxy.exchange import Exchange, State
from llm_audit.proxy.fields import MAX_HEAD_BYTES
from llm_audit.proxy.outflow import Outflow, TransportOutflow, outflow_for
from llm_audit.proxy.response_head import (
    BadResponseError,
    ResponseHead,
    check_status_line,
    read_response_head,
)
from llm_audit.record.schema import ErrorInfo

IDLE_LIMIT: Final = 4.0
"""Seconds that a connection may rest in the pool: below uvicorn's keep-alive of 5 s, so that the server never
closes a connection while a request is on its way (a POST is never sent twice)."""

CONNECT_TIMEOUT: Final = 10.0
_JOIN_LIMIT: Final = 64 * 1024


class UpstreamConnection(asyncio.Protocol):
    """Carries one exchange at a time; goes back to the pool only if both messages ended exactly."""

    def __init__(self, pool: UpstreamPool) -> None:
        self._pool = pool
        self._exchange: Exchange | None = None
        self._transport: asyncio.Transport | None = None
        self._out: Outflow | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._head = bytearray()
        self._in_body = self._until_close = self._complete = self._spent = False
        self._pieces: list[bytes] = []
        self._fruitless = 0
        """Bytes since the last that brought something: interim responses, or framing without a byte of the body."""
        self._unread = select.poll()
        self.idle_since = 0.0
        self.closed = False

    # --- for the pool ------------------------------------------------------------------------------------

    @property
    def is_fresh(self) -> bool:
        """Tell whether nothing came, no byte and no end, since the last response: what came would be no answer.

        The loop may not have read it yet: a surplus of one response must never be taken for the next one.
        """
        return not (self.closed or self._unread.poll(0))

    def carry(self, exchange: Exchange) -> None:
        """Send an exchange's request."""
        self._exchange = exchange
        pieces = exchange.upstream_ready(self)
        head = self._pool.request_head(exchange)
        out = self._out
        assert out is not None
        if exchange.body_bytes <= _JOIN_LIMIT:
            out.write(b"".join((head, *pieces)))
            return
        out.write(head)
        for piece in pieces:
            out.write(piece)

    # --- asyncio.Protocol --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._out = outflow_for(self._pool.loop, self._transport, _nothing, abort_on_error=False)
        self._unread.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Parse one read, and tell the exchange once what it brought."""
        exchange = self._exchange
        if exchange is None:
            self.abort()  # bytes that nobody asked for
            return
        head: ResponseHead | None = None
        try:
            if not self._in_body:
                head, data = self._read_head(data)
                if head is None:
                    return
            if data and not self._complete:
                self._parser.feed_data(data)
            elif data:
                self._spent = True
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, BadResponseError) as error:
            if not (self._in_body and self._complete):
                self._malformed(exchange, head, str(error))
                return
            self._spent = True
        pieces = self._pieces
        if head is None and not pieces and not self._complete:
            self._brought_nothing(exchange, len(data))
            return
        self._fruitless = 0
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._complete:
            self._release()
            exchange.upstream_received(head, body, complete=True)
        else:
            exchange.upstream_received(head, body, complete=False)

    def eof_received(self) -> bool | None:
        """Take the end of a response that only its connection's end delimits (RFC 9112 section 6.3, rule 8)."""
        exchange = self._exchange
        if exchange is None:
            self.closed = True  # nobody may take it up before connection_lost
        elif self._until_close:
            self._exchange = None
            exchange.upstream_received(None, b"", complete=True)
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the exchange, if one is under way."""
        self.closed = True
        if self._out is not None:
            self._out.stop()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            when = "in the middle of its response" if self._in_body else "before it answered"
            how = f": {exc}" if exc else ""
            exchange.upstream_failed(
                ErrorInfo("upstream_closed", f"the model server closed the connection {when}{how}")
            )
        self._pool.forget(self)

    def pause_writing(self) -> None:
        """Over TLS, the transport holds bytes back."""
        if isinstance(self._out, TransportOutflow):
            self._out.paused()

    def resume_writing(self) -> None:
        """Over TLS, the transport holds no bytes back any more."""
        if isinstance(self._out, TransportOutflow):
            self._out.resumed()

    # --- llhttp ------------------------------------------------------------------------------------------

    def on_body(self, data: bytes) -> None:
        """Collect a piece of the body, without its transfer coding; a message that follows is nobody's."""
        if not self._complete:
            self._pieces.append(data)

    def on_message_begin(self) -> None:
        """Notice a message that nobody asked for."""
        if self._complete:
            self._spent = True

    def on_message_complete(self) -> None:
        """Notice the message's end."""
        self._complete = True

    # --- the port of the exchange ------------------------------------------------------------------------

    def pause_reading(self) -> None:
        """Stop taking bytes."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Take bytes again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def abort(self) -> None:
        """End the connection at once (vLLM then stops generating)."""
        self._exchange = None
        if self._transport is not None:
            self._transport.abort()

    # --- inside ------------------------------------------------------------------------------------------

    def _read_head(self, data: bytes) -> tuple[ResponseHead | None, bytes]:
        """Find the final response's head; answers it (None if more must come) and the bytes after it.

        Interim responses (1xx) end here: this hop asked for none.
        """
        if self._head:
            self._head += data
            data = bytes(self._head)
            self._head.clear()
        while True:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                if len(data) > MAX_HEAD_BYTES:
                    raise BadResponseError(f"a response head of more than {MAX_HEAD_BYTES} bytes came")
                if b"\n\n" in data:
                    raise BadResponseError("lines of the response's head end without CR")
                self._head += data
                return None, b""
            raw, data = data[:end], data[end:]
            check_status_line(raw[: raw.index(b"\r\n")])
            self._parser.feed_data(raw)
            status = self._parser.get_status_code()
            if status == 101:
                raise BadResponseError("status 101 came, but no upgrade was asked for")
            head = read_response_head(raw, status)
            if status >= 200:
                break
            self._complete = False
            self._count_fruitless(len(raw))
        self._in_body = True
        self._spent = head.close
        assert self._exchange is not None
        if self._exchange.head.method == b"HEAD":
            self._complete = self._spent = True  # llhttp would wait for a body: the connection is not kept
        elif not self._complete:
            self._until_close = head.content_length is None and not head.chunked
        return head, data

    def _count_fruitless(self, count: int) -> None:
        self._fruitless += count
        if self._fruitless > MAX_HEAD_BYTES:
            raise BadResponseError(
                f"more than {MAX_HEAD_BYTES} bytes of interim responses, chunk extensions or trailers came in a row"
            )

    def _brought_nothing(self, exchange: Exchange, count: int) -> None:
        try:
            self._count_fruitless(count)
        except BadResponseError as error:
            self._malformed(exchange, None, str(error))

    def _malformed(self, exchange: Exchange, head: ResponseHead | None, what: str) -> None:
        """Pass on what came before the fault, then fail."""
        body = b"".join(self._pieces)
        self._pieces.clear()
        self._exchange = None
        if head is not None or body:
            exchange.upstream_received(head, body, complete=False)
        exchange.upstream_failed(
            ErrorInfo("upstream_malformed", f"the model server's response is no valid HTTP: {what}")
        )
        self.abort()

    def _release(self) -> None:
        """Leave the exchange; rest in the pool if nothing stands against it."""
        self._exchange = None
        assert self._out is not None
        sending = self._out.waiting_since is not None
        self._in_body = self._complete = False
        if self._spent or sending:
            self.abort()
        else:
            self._pool.rest(self)


def _nothing() -> None:
    """Nobody waits for an upstream connection to take a request."""


class UpstreamPool:
    """Keep-alive connections to one model server."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, host: str, port: int, ssl: SSLContext | None, authority: str
    ) -> None:
        self.loop = loop
        self._host = host
        self._port = port
        self._ssl = ssl
        self._authority = authority.encode("ascii")
        self._idle: deque[UpstreamConnection] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_unreachable: Callable[[], None] = _nothing
        """Called where no connection can be made."""

    def connect(self, exchange: Exchange) -> None:
        """Give the exchange a rested connection, or make one."""
        if exchange.head.method != b"HEAD":
            oldest = self.loop.time() - IDLE_LIMIT
            while self._idle:
                connection = self._idle.pop()
                if connection.idle_since >= oldest and connection.is_fresh:
                    connection.carry(exchange)
                    return
                connection.abort()
        task = self.loop.create_task(self._connect(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, exchange: Exchange) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, connection = await self.loop.create_connection(
                    lambda: UpstreamConnection(self), self._host, self._port, ssl=self._ssl
                )
        except (OSError, TimeoutError) as error:
            self.on_unreachable()
            what = str(error) or f"no answer within {CONNECT_TIMEOUT:g} s"
            exchange.upstream_failed(
                ErrorInfo("upstream_unreachable", f"no connection to the model server: {what}")
            )
            return
        if connection.closed:  # accepted, and ended before we heard of it
            exchange.upstream_failed(
                ErrorInfo("upstream_closed", "the model server closed the connection before it answered")
            )
        elif exchange.state is State.CONNECTING:
            connection.carry(exchange)
        else:
            self.rest(connection)

    def request_head(self, exchange: Exchange) -> bytes:
        """Give the request's head as this hop sends it: own Host and framing, our request id, Via.

        Via is asked of a gateway by RFC 9110 section 7.6.3.
        """
        head = exchange.head
        framing = b""
        if exchange.body_bytes or head.content_length is not None or head.fields.chunked:
            framing = b"content-length: %d\r\n" % exchange.body_bytes
        return b"%b %b HTTP/1.1\r\nhost: %b\r\n%bvia: 1.%d llm-audit\r\nx-request-id: %b\r\n%b\r\n" % (
            head.method,
            head.target,
            self._authority,
            head.fields.forward_lines,
            head.http_minor,
            exchange.request_id_text.encode("ascii"),
            framing,
        )

    def rest(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next exchange."""
        connection.idle_since = self.loop.time()
        self._idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """Drop a connection that was lost."""
        if connection in self._idle:
            self._idle.remove(connection)

    def sweep(self, now: float) -> None:
        """Close connections that rested for too long; called about once a second."""
        while self._idle and (self._idle[0].closed or now - self._idle[0].idle_since > IDLE_LIMIT):
            self._idle.popleft().abort()

    def close(self) -> None:
        """Close every rested connection."""
        while self._idle:
            self._idle.popleft().abort()
        for task in self._tasks:
            task.cancel()
