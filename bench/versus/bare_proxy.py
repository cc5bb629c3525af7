"""The least that a proxy in Python can do: bytes passed on, nothing read. What the regression guard compares us with.

python -m bench.versus.bare_proxy PORT UPSTREAM_PORT
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop


class _Client(asyncio.Protocol):
    """A client's connection, with one of its own to the model server."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._server: _Server | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)
        self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, self._server = await loop.create_connection(lambda: _Server(self), "127.0.0.1", self._upstream)
        for data in self._early:
            self._server.transport.write(data)

    def data_received(self, data: bytes) -> None:
        if self._server is None:
            self._early.append(data)
        else:
            self._server.transport.write(data)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._server is not None:
            self._server.transport.close()


class _Server(asyncio.Protocol):
    def __init__(self, client: _Client) -> None:
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._client.transport.write(data)

    def connection_lost(self, _error: Exception | None) -> None:
        self._client.transport.close()


async def _serve(port: int, upstream: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Client(upstream), "127.0.0.1", port, backlog=4096)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
