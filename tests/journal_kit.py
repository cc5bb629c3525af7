"""What the journal's tests share: a writer on a folder, calls of known content, and their comparison."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llm_audit.journal import frames
from llm_audit.journal.model import Durability, EndedExchange, RecordSettings
from llm_audit.journal.reader import WriterReader
from llm_audit.journal.writer import JournalWriter, OpenExchange
from llm_audit.record.schema import IdentitySource, Outcome

LIMIT = 8 << 20
SETTINGS = RecordSettings(prefix="logs", body_preview=100, content="full", proxy_version="0.0-test")


def open_writer(
    directory: Path,
    *,
    limit: int = LIMIT,
    durability: Durability = Durability.PROCESS,
    sync: Callable[[int], None] = os.fdatasync,
    on_failure: Callable[[Exception], None] = lambda _: None,
    loop: asyncio.AbstractEventLoop | None = None,
) -> JournalWriter:
    return JournalWriter.open(
        directory,
        settings=SETTINGS,
        durability=durability,
        limit_bytes=limit,
        loop=loop,
        on_failure=on_failure,
        sync=sync,
    )


@dataclass(frozen=True)
class Call:
    """What one call is to leave in the journal."""

    name: str
    request: tuple[bytes, ...] = (b"{}",)
    chunks: tuple[bytes, ...] = ()
    status: int = 200

    @property
    def id(self) -> bytes:
        return self.name.encode().ljust(16, b".")


def start_of(call: Call) -> bytes:
    return frames.encode_request_start(
        request_id=call.id,
        started_wall_ns=1_700_000_000_000_000_000,
        started_mono_ns=5,
        method="POST",
        target="/v1/chat/completions",
        header_lines=b"host: x\r\n",
        client_address="127.0.0.1:9",
        identity_source=IdentitySource.CLAIMED,
        key_id=None,
        source="team",
        user=call.name,
        request_type="chat",
    )


def begin(writer: JournalWriter, call: Call) -> OpenExchange:
    exchange = writer.begin(start_of(call), call.request[0], last=len(call.request) == 1)
    for index, piece in enumerate(call.request[1:], 2):
        exchange.request_body(piece, last=index == len(call.request))
    return exchange


def respond(exchange: OpenExchange, call: Call) -> None:
    exchange.response(frames.encode_response_start(call.status, b"a: b\r\n"), b"", last=not call.chunks)
    for index, chunk in enumerate(call.chunks, 1):
        exchange.response_body(chunk, last=index == len(call.chunks))


def finish(exchange: OpenExchange, call: Call) -> int:
    return exchange.end(Outcome.COMPLETE, call.status, sum(map(len, call.chunks)), None)


def write(writer: JournalWriter, call: Call) -> int:
    exchange = begin(writer, call)
    respond(exchange, call)
    return finish(exchange, call)


def roll(writer: JournalWriter) -> None:
    """Go on in the next segment, once it is prepared."""
    assert writer._spares.wait(60)
    writer._roll()


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether it comes true within a minute: for what another thread does."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.001)
    return False


def drain(reader: WriterReader, limit: int = 256) -> list[EndedExchange]:
    found: list[EndedExchange] = []
    while batch := reader.poll(limit):
        found.extend(batch)
    return found


def read_all(directory: Path) -> list[EndedExchange]:
    """Everything that ended, with bodies read; the reader is closed again."""
    reader = WriterReader(directory, sync=lambda _: None)
    try:
        return [loaded(ended) for ended in drain(reader)]
    finally:
        reader.close()


def loaded(ended: EndedExchange) -> EndedExchange:
    return ended._replace(request_body=list(ended.request_body), chunks=list(ended.chunks))


def assert_whole(ended: EndedExchange, call: Call) -> None:
    assert ended.damage is None, ended.damage
    assert ended.request is not None
    assert ended.request.request_id == ended.request_id == call.id
    assert ended.request.user == call.name
    assert b"".join(ended.request_body) == b"".join(call.request)
    assert [chunk.data for chunk in ended.chunks] == list(call.chunks)
    assert ended.end is not None
    assert ended.end.outcome == Outcome.COMPLETE
    assert ended.response is not None
    assert ended.response.status == call.status


def segment_files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.iterdir() if path.suffix in {".seg", ".carry"})
