"""What the tables of RFC 9112 have in common: how a row is written, and how it is sent."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from proxy_stage import CALLER
from proxy_wire import Wire

PATH = b"/v1/chat/completions"
LINE = b"POST " + PATH + b" HTTP/1.1\r\n"
HOST = b"host: a\r\n"
HEAD = LINE + HOST + CALLER
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
LENGTH = b"content-length: 3\r\n\r\nabc"
CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"
SMUGGLED = b"POST " + PATH + b"?smuggled HTTP/1.1\r\n" + HOST + CALLER + b"content-length: 0\r\n\r\n"


def line(start: bytes, host: bytes = HOST) -> bytes:
    """A request whose start-line, its CRLF included, is given."""
    return start + host + CALLER + LENGTH


def framed(fields: bytes, body: bytes = b"abc", *, version: bytes = b"1.1") -> bytes:
    """A request with these framing fields, each ended by CRLF."""
    return b"POST " + PATH + b" HTTP/" + version + b"\r\n" + HOST + CALLER + fields + b"\r\n" + body


class Row(NamedTuple):
    """One rule and a message that breaks it."""

    section: str
    rule: str
    sent: bytes
    status: int = 400


def label(row: tuple[object, ...]) -> str:
    """Name a row in pytest's output."""
    return f"{row[0]} {row[1]}"


async def over_tcp(proxy: Wire, sent: bytes, *, then: bytes = b"", leave: bool = False) -> bytes:
    """Send on a connection of its own, and read until the proxy ends it; ``then`` goes after its end."""
    proxy.stage.model.calls.clear()
    client = await proxy.stage.client()
    client.writer.write(sent)
    if leave:
        client.writer.write_eof()
    received = await client.rest()
    if then and not client.writer.transport.is_closing():
        client.writer.write(then)
    client.writer.close()
    while proxy.stage.service.connections or proxy.stage.writer.open_count:
        await asyncio.sleep(0)
    return received
