"""One client connection: llhttp on a transport, one exchange at a time, every limit kept.

The head is gathered until its empty line and fed to llhttp whole, so that its size, its count of fields and
its time are bounded before anything of it counts. What follows the current message stays in a bounded buffer
until the exchange is over (pipelining), and reading goes on meanwhile: that is how a client's leaving shows.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Final, cast

import httptools

from llm_audit.proxy.answers import error_answer
from llm_audit.proxy.exchange import Exchange, State
from llm_audit.proxy.fields import MAX_HEAD_BYTES
from llm_audit.proxy.framing import pieces_at_empty_lines
from llm_audit.proxy.outflow import Outflow, TransportOutflow, outflow_for
from llm_audit.proxy.request_head import (
    BadRequestError,
    RequestHead,
    head_too_large,
    is_hopeless,
    read_request_head,
    without_upgrade,
)
from llm_audit.record.schema import ErrorInfo, Outcome

if TYPE_CHECKING:
    from llm_audit.proxy.service import Service

KEEP_ALIVE_IDLE: Final = 75.0
"""Seconds that a connection may rest between two requests; above the 60 s of common load balancers, so that
they close first and never race with a request."""

PIPELINE_LIMIT: Final = 64 * 1024
FRAMING_PER_BYTE: Final = 16
"""Bytes of chunk framing and trailers that may come with a byte of the body: chunks of one byte have five."""

LINGER_BYTES: Final = 1024 * 1024
LINGER_SECONDS: Final = 2.0
_NO_LINGER: Final = struct.pack("ii", 1, 0)
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class ServerProtocol(asyncio.Protocol):
    """The client's port of the exchange, and what feeds it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._transport: asyncio.Transport | None = None
        self._out: Outflow | None = None
        self.peer = ""
        self._parser = httptools.HttpRequestParser(self)
        self._buffer = bytearray()
        """A head that is not whole yet, or what follows the message of the current exchange."""
        self._head: RequestHead | None = None
        """Of the message whose body is being read; None between messages."""
        self.exchange: Exchange | None = None
        self._url = b""
        self._pieces: list[bytes] = []
        self._tail = b""
        self._complete = False
        self._unreadable = False
        self._lingering: float | None = None
        self._lingered = 0
        self._reading = True
        self._resuming = False
        """A pipelined request is taken up in the loop's next turn; what comes before that stands behind it."""
        self._framing_bytes = 0
        self._quiet_since = service.clock()
        self._head_since: float | None = None
        self.started_mono_ns = self.started_wall_ns = 0
        """The first byte of the current message."""

    # --- asyncio.Protocol --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._out = outflow_for(self._service.loop, self._transport, self._drained, abort_on_error=True)
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if peer else ""
        self._service.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Go on with the head, the body, the next request or the lingering read."""
        if self._lingering is not None:
            self._lingered += len(data)
            if self._lingered > LINGER_BYTES:
                self._abort()
        elif self._head is not None and not self._complete:
            self._feed_body(data)
        elif self.exchange is not None or self._resuming:
            self._buffer += data
            if len(self._buffer) > PIPELINE_LIMIT:
                self._pause()
        else:
            self._feed_head(data)

    def eof_received(self) -> bool | None:
        """Take a half-closed connection as a client that left: TCP does not tell the two apart."""
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the exchange, if one is under way."""
        self._service.connection_closed(self)
        assert self._out is not None
        self._out.stop()
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            how = f": {exc}" if exc else ""
            exchange.client_lost(ErrorInfo("client_disconnected", f"the client closed the connection{how}"))

    def pause_writing(self) -> None:
        """Over TLS, the transport holds bytes back."""
        if isinstance(self._out, TransportOutflow):
            self._out.paused()

    def resume_writing(self) -> None:
        """Over TLS, the transport holds no bytes back any more."""
        if isinstance(self._out, TransportOutflow):
            self._out.resumed()

    # --- llhttp ------------------------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        """Keep the target."""
        self._url += url

    def on_body(self, data: bytes) -> None:
        """Collect a piece of the body, without its transfer coding."""
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        """Notice the message's end."""
        self._complete = True

    # --- the head ----------------------------------------------------------------------------------------

    def _feed_head(self, data: bytes) -> None:
        if self._head_since is None:
            self._head_since = self._service.clock()
            self.started_mono_ns = monotonic_ns()
            self.started_wall_ns = time_ns()
        if self._buffer:
            search_from = max(len(self._buffer) - 3, 0)
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n", search_from) + 4
            if end >= 4:
                data = bytes(self._buffer)
                self._buffer.clear()
        else:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                self._buffer += data
        if end > MAX_HEAD_BYTES or (end < 4 and len(self._buffer) > MAX_HEAD_BYTES):
            raw = bytes(self._buffer) or data
            self._refuse_unread(head_too_large(raw), raw)
        elif end >= 4:
            self._begin(data[:end], data[end:])
        elif is_hopeless(self._buffer):
            error = BadRequestError(
                400, "a head begins with a method in capitals, and each of its lines ends with CRLF"
            )
            self._refuse_unread(error, bytes(self._buffer))

    def _begin(self, raw: bytes, rest: bytes) -> None:
        """Open an exchange for a whole head, with what came of the body."""
        self._url = b""
        self._complete = False
        self._framing_bytes = 0
        if b"pgrade" in raw or b"PGRADE" in raw:
            raw = without_upgrade(raw)
        try:
            self._parser.feed_data(raw)
            method = self._parser.get_method()
            head = read_request_head(raw, method, self._url)
        except BadRequestError as error:
            self._refuse_unread(error, raw)
            return
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._refuse_unread(BadRequestError(400, f"the request is no valid HTTP: {error}"), raw)
            return
        self._head = head
        self._tail = b""
        body = b""
        if not self._complete and rest:
            try:
                rest = self._parse_body(rest)
            except (BadRequestError, httptools.HttpParserError) as error:
                self._refuse_unread(_as_bad_request(error), raw)
                return
            body = self._take_pieces()
        if rest:
            self._buffer += rest
        self._head_since = None
        self.delivered = 0
        self._service.open_exchange(self, head, body, complete=self._complete)
        if head.fields.expects_continue and not self._complete and self._waits_for_body():
            self.write(CONTINUE, 0, 0)

    def _waits_for_body(self) -> bool:
        return self.exchange is not None and self.exchange.state is State.RECEIVING

    def _refuse_unread(self, error: BadRequestError, raw: bytes = b"") -> None:
        """Answer a request that could not be read, and end the connection."""
        self._buffer.clear()
        self._pieces.clear()
        self._head_since = None
        self._complete = False
        self._unreadable = True
        self.delivered = 0
        self._service.refuse_unreadable(self, error, raw)

    # --- the body ----------------------------------------------------------------------------------------

    def _feed_body(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None or exchange.state is not State.RECEIVING:
            return  # an answer is on its way out, and this connection ends with it
        try:
            rest = self._parse_body(data)
        except (BadRequestError, httptools.HttpParserError) as error:
            bad = _as_bad_request(error)
            answer = error_answer(bad.status, "bad_request", bad.message)
            exchange.answer(answer, Outcome.REJECTED, request_complete=False)
            return
        if rest:
            self._buffer += rest
        exchange.request_received(self._take_pieces(), complete=self._complete)

    def _parse_body(self, data: bytes) -> bytes:
        """Feed the body; answers what follows its end. Raises BadRequestError past the body's limit."""
        head = self._head
        assert head is not None
        limit = self._service.max_body_bytes
        received = 0 if self.exchange is None else self.exchange.body_bytes
        if not head.fields.chunked:
            left = (head.content_length or 0) - received
            if (head.content_length or 0) <= limit:
                self._parser.feed_data(data if len(data) <= left else data[:left])
            return data[left:] if len(data) > left else b""
        before, self._tail = self._tail, (self._tail + data)[-3:]
        rest = b""
        for start, end in pieces_at_empty_lines(data, before):
            self._parser.feed_data(data[start:end])
            if self._complete:
                data, rest = data[:end], data[end:]
                break
        came = sum(map(len, self._pieces))
        if received + came > limit:
            raise BadRequestError(413, f"the body is larger than {limit} bytes, which is the most taken")
        self._framing_bytes += len(data) - came
        if self._framing_bytes > MAX_HEAD_BYTES + FRAMING_PER_BYTE * (received + came):
            raise BadRequestError(400, "the chunks' extensions outweigh the body (RFC 9112 section 7.1.1)")
        return rest

    def _take_pieces(self) -> bytes:
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return body

    # --- the port of the exchange ------------------------------------------------------------------------

    @property
    def delivered(self) -> int:
        """Content bytes of this exchange that the kernel has taken."""
        assert self._out is not None
        return self._out.delivered

    @delivered.setter
    def delivered(self, value: int) -> None:
        assert self._out is not None
        self._out.delivered = value

    def write(self, data: bytes, prefix: int, content: int) -> bool:
        """Hand over bytes of which ``content`` follow ``prefix`` ones of framing; True if none had to wait."""
        assert self._out is not None
        return self._out.write(data, prefix, content)

    def close_when_sent(self) -> None:
        """End the connection once everything is handed over."""
        self.exchange = None
        assert self._out is not None
        self._out.close_when_sent()

    def reset(self) -> None:
        """End the connection at once, by RST: an orderly end would be the end of a response to HTTP/1.0."""
        assert self._transport is not None
        if not self._transport.is_closing():
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._abort()

    def _abort(self) -> None:
        self.exchange = None
        assert self._out is not None
        assert self._transport is not None
        self._out.stop()
        self._transport.abort()

    def exchange_ended(self, *, reusable: bool) -> None:
        """Go on with the next request, or end: with a lingering read where the client may still be sending."""
        self.exchange = None
        unread = self._unreadable or (self._head is not None and not self._complete)
        self._head = None
        assert self._transport is not None
        if self._transport.is_closing():
            return
        if not reusable or self._service.draining:
            if unread:
                self._linger()
            else:
                self._transport.close()
            return
        self._quiet_since = self._service.clock()
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        if self._buffer:
            # From the loop, so that a run of pipelined requests does not recurse.
            self._resuming = True
            self._service.loop.call_soon(self._resume)

    def _resume(self) -> None:
        self._resuming = False
        if self._transport is not None and not self._transport.is_closing():
            data = bytes(self._buffer)
            self._buffer.clear()
            self._feed_head(data)

    def _linger(self) -> None:
        """Read on for a little: closing with unread bytes would reset the connection under our answer."""
        assert self._transport is not None
        self._lingering = self._service.clock()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _pause(self) -> None:
        assert self._transport is not None
        self._reading = False
        self._transport.pause_reading()

    def _drained(self) -> None:
        if self.exchange is not None:
            self.exchange.client_drained()

    # --- time --------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Look at the limits; called about once a second."""
        assert self._out is not None
        timeout = self._service.limits.client_timeout
        if self.exchange is not None:
            self.exchange.tick(now, client_waiting_since=self._out.waiting_since)
        elif self._lingering is not None:
            if now - self._lingering > LINGER_SECONDS:
                self._abort()
        elif self._head_since is not None:
            if now - self._head_since > timeout:
                message = f"the head was not whole after {timeout:g} s"
                self._refuse_unread(BadRequestError(408, message))
        elif self._out.waiting_since is not None:
            if now - self._out.waiting_since > timeout:
                self.reset()
        elif now - self._quiet_since > KEEP_ALIVE_IDLE:
            self.close_when_sent()

    def journal_lost(self, error: Exception) -> None:
        """End the exchange that is under way: its journal is gone."""
        if self.exchange is not None:
            self.exchange.journal_lost(error)

    def interrupt(self, error: ErrorInfo) -> None:
        """End what is under way."""
        if self.exchange is not None:
            self.exchange.interrupt(error)
        else:
            self.reset()

    def drain(self) -> None:
        """Close if nothing is under way; a connection with an exchange closes when that ends, and says so."""
        if self.exchange is not None:
            self.exchange.keep_alive = False
        elif self._lingering is None:
            self.close_when_sent()


def _as_bad_request(error: Exception) -> BadRequestError:
    if isinstance(error, BadRequestError):
        return error
    return BadRequestError(400, f"the request's body is no valid HTTP: {error}")
