"""Does the model server answer? Asked beside the data path, on a connection of its own."""

from __future__ import annotations

import asyncio
from ssl import SSLContext

PROBE_TIMEOUT = 5.0


async def upstream_is_healthy(host: str, port: int, ssl: SSLContext | None, authority: str) -> bool:
    """Ask ``GET /health``; a model server that lives but knows no such path (404, 405) counts as healthy."""
    request = f"GET /health HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n".encode("ascii")
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            reader, writer = await asyncio.open_connection(host, port, ssl=ssl)
            try:
                writer.write(request)
                line = await reader.readline()
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError, ValueError):
        return False
    parts = line.split(b" ")
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1."):
        return False
    return parts[1][:1] == b"2" or parts[1] in (b"404", b"405")
