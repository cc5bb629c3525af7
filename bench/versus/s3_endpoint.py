"""An S3 endpoint that costs nothing: conditional puts into memory, no signature checked, nothing else.

python -m bench.versus.s3_endpoint PORT
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import httptools
import uvloop


class Endpoint(asyncio.Protocol):
    """One connection."""

    taken: set[bytes] = set()  # noqa: RUF012 - of all connections

    def __init__(self) -> None:
        """Begin with nothing read."""
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Take the object's name."""
        self._path += url

    def on_header(self, name: bytes, _value: bytes) -> None:
        """Let a client go on that asks whether it may."""
        if name.lower() == b"expect":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_message_complete(self) -> None:
        """Store and answer."""
        path, self._path = self._path, b""
        if self._parser.get_method() != b"PUT":
            self._say(b"404 Not Found")
        elif path in self.taken:
            self._say(b"412 Precondition Failed")
        else:
            self.taken.add(path)
            self._say(b'200 OK\r\netag: "0"')

    def _say(self, status: bytes) -> None:
        self._transport.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\n\r\n" % status)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Endpoint, "127.0.0.1", port, backlog=4096)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
