"""Handing bytes to a socket, knowing exactly which ones the kernel has taken.

asyncio transports buffer what the kernel does not take and do not say how much of it left before a connection
was lost, but a record states ``deliveredBytes``. So an outflow writes to the socket itself and keeps what has
to wait; on plain TCP that also saves the transport's own queue, about 2 µs a write. Over TLS the transport
must encrypt, so there bytes count as handed over once the transport no longer holds them back.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable


class SocketOutflow:
    """Writes to a plain socket that belongs to a transport."""

    __slots__ = (
        "_abort_on_error",
        "_closing",
        "_drained",
        "_fd",
        "_loop",
        "_transport",
        "_waiting",
        "_watch_fd",
        "delivered",
        "waiting_since",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        drained: Callable[[], None],
        *,
        abort_on_error: bool,
    ) -> None:
        self._abort_on_error = abort_on_error
        self._loop = loop
        self._transport = transport
        self._fd: int = transport.get_extra_info("socket").fileno()
        self._drained = drained
        self._waiting: deque[list[memoryview | int]] = deque()
        self._watch_fd = -1
        self._closing = False
        self.delivered = 0
        """Content bytes that the kernel has taken since this was last set to 0."""
        self.waiting_since: float | None = None
        """When the kernel last took a byte, while bytes wait; else None."""

    def write(self, data: bytes, prefix: int = 0, content: int = 0) -> bool:
        """Hand over bytes of which ``content`` follow ``prefix`` others; True if the kernel took them all."""
        if self._waiting:
            self._waiting.append([memoryview(data), prefix, content])
            return False
        if self._transport.is_closing():
            return False
        try:
            taken = os.write(self._fd, data)
        except BlockingIOError:
            taken = 0
        except OSError:
            self._failed()
            return False
        if taken == len(data):
            self.delivered += content
            return True
        self._keep(memoryview(data), prefix, content, taken)
        return False

    def _keep(self, data: memoryview, prefix: int, content: int, taken: int) -> None:
        inside = min(max(taken - prefix, 0), content)
        self.delivered += inside
        self._waiting.append([data[taken:], max(prefix - taken, 0), content - inside])
        self.waiting_since = self._loop.time()
        # The transport watches its own descriptor; a duplicate may be watched beside it.
        self._watch_fd = os.dup(self._fd)
        self._loop.add_writer(self._watch_fd, self._writable)

    def _writable(self) -> None:
        while self._waiting:
            entry = self._waiting[0]
            data, prefix, content = entry
            assert isinstance(data, memoryview)
            assert isinstance(prefix, int)
            assert isinstance(content, int)
            try:
                taken = os.write(self._watch_fd, data)
            except BlockingIOError:
                return
            except OSError:
                self._failed()
                return
            self.waiting_since = self._loop.time()
            inside = min(max(taken - prefix, 0), content)
            self.delivered += inside
            if taken < len(data):
                entry[:] = [data[taken:], max(prefix - taken, 0), content - inside]
                return
            self._waiting.popleft()
        self.stop()
        if self._closing:
            self._transport.close()
        else:
            self._drained()

    def _failed(self) -> None:
        """Stop writing; end the connection, unless what the peer already sent is still to be read."""
        self.stop()
        if self._abort_on_error:
            self._transport.abort()  # connection_lost follows from the loop

    def close_when_sent(self) -> None:
        """Close the connection once the kernel has taken everything."""
        self._closing = True
        if not self._waiting:
            self._transport.close()

    def stop(self) -> None:
        """Forget what waits; for a connection that is lost or about to be."""
        self._waiting.clear()
        self.waiting_since = None
        if self._watch_fd >= 0:
            self._loop.remove_writer(self._watch_fd)
            os.close(self._watch_fd)
            self._watch_fd = -1


class TransportOutflow:
    """Writes through a transport, as TLS needs it; the transport says when it holds bytes back."""

    __slots__ = ("_closing", "_drained", "_held", "_loop", "_transport", "delivered", "waiting_since")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, drained: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._transport = transport
        self._drained = drained
        self._closing = False
        self._held = 0
        self.delivered = 0
        self.waiting_since: float | None = None

    def write(self, data: bytes, prefix: int = 0, content: int = 0) -> bool:  # noqa: ARG002 - as SocketOutflow
        """Hand over bytes; True unless the transport holds them back."""
        if self._transport.is_closing():
            return False
        self._transport.write(data)
        if self.waiting_since is None:
            self.delivered += content
            return True
        self._held += content
        return False

    def paused(self) -> None:
        """Note that the transport's buffer passed its limit."""
        self.waiting_since = self._loop.time()

    def resumed(self) -> None:
        """Note that the transport's buffer is below its limit again."""
        self.waiting_since = None
        self.delivered += self._held
        self._held = 0
        if not self._closing:
            self._drained()

    def close_when_sent(self) -> None:
        """Close the connection; the transport sends what it holds first."""
        self._closing = True
        self._transport.close()

    def stop(self) -> None:
        """Forget what waits."""
        self.waiting_since = None


Outflow = SocketOutflow | TransportOutflow


def outflow_for(
    loop: asyncio.AbstractEventLoop,
    transport: asyncio.Transport,
    drained: Callable[[], None],
    *,
    abort_on_error: bool,
) -> Outflow:
    """Give the outflow that fits the transport.

    ``abort_on_error`` is for a peer that has nothing more to say once it cannot be written to (a client); a
    model server may have answered early, and that answer is still read.
    """
    if transport.get_extra_info("ssl_object") is None:
        return SocketOutflow(loop, transport, drained, abort_on_error=abort_on_error)
    return TransportOutflow(loop, transport, drained)
