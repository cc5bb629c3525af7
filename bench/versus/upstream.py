"""A model server that costs nothing: raw asyncio protocols, real vLLM bytes, no model.

    python -m bench.versus.upstream PORT

``x-bench-chunk-ms`` in a streaming request says how far apart its 100 chunks are; ``x-bench-capture: NAME`` asks
for the recorded answer of that name, byte for byte.
"""

from __future__ import annotations

import asyncio
import sys
from functools import cache
from pathlib import Path
from typing import cast

import uvloop

CAPTURES = Path(__file__).parents[2] / "tests" / "captures" / "A-default"
CHUNKS = 100
_CHUNK = (
    b'data: {"id":"chatcmpl-93bcf16575b912c8","object":"chat.completion.chunk","created":1795486266,'
    b'"model":"smollm2-135m-instruct","choices":[{"index":0,"delta":{"content":" capital"},"logprobs":null,'
    b'"finish_reason":null,"token_ids":null}]}\n\n'
)
_PIECE = b"%x\r\n%b\r\n" % (len(_CHUNK), _CHUNK)
_STREAM = (
    b"HTTP/1.1 200 OK\r\ndate: Tue, 24 Nov 2026 02:11:06 GMT\r\nserver: uvicorn\r\n"
    b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
_MODELS = b'{"object":"list","data":[{"id":"m","object":"model","owned_by":"x"}]}'


@cache
def recorded(name: str) -> bytes:
    """Give a recorded answer as it came from vLLM."""
    return (CAPTURES / f"{name}.resp").read_bytes()


class ModelServer(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        """Begin with nothing read."""
        self._read = bytearray()
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            fields = _fields(bytes(self._read[:end]))
            length = int(fields.get(b"content-length", b"0"))
            whole = end + 4 + length
            if len(self._read) < whole:
                if b"expect" in fields:
                    self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                return
            head, body = bytes(self._read[:end]), bytes(self._read[end + 4 : whole])
            del self._read[:whole]
            self._answer(head, fields, body)

    def _answer(self, head: bytes, fields: dict[bytes, bytes], body: bytes) -> None:
        name = fields.get(b"x-bench-capture")
        if head.startswith(b"GET"):
            said = _MODELS if b"/models" in head.split(b"\r\n", 1)[0] else b"{}"
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(said), said)
            )
        elif name:
            self._transport.write(recorded(name.decode()))
        elif b'"stream":true' in body[-200:].replace(b" ", b""):
            self._transport.write(_STREAM)
            self._next_chunk(CHUNKS, int(fields.get(b"x-bench-chunk-ms", b"10")) / 1000)
        else:
            self._transport.write(recorded("chat-nonstream"))

    def _next_chunk(self, left: int, pace_s: float) -> None:
        if self._transport.is_closing():
            return
        if not left:
            self._transport.write(b"0\r\n\r\n")
            return
        self._transport.write(_PIECE)
        asyncio.get_running_loop().call_later(pace_s, self._next_chunk, left - 1, pace_s)


def _fields(head: bytes) -> dict[bytes, bytes]:
    parted = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.lower(): value.strip() for name, _, value in parted}


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(ModelServer, "127.0.0.1", port, backlog=4096)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
