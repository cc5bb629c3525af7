"""Workers on one listening socket, killed under load: what a client saw is in a journal, once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import uvloop

from llm_audit.journal.model import Chunk, EndedExchange
from llm_audit.journal.reader import WriterReader
from llm_audit.record.schema import Outcome
from proxy_process import Worker, listen, start
from proxy_stage import Model, UpstreamCall
from proxy_wire import Message, h11_responses

KILLS = 20
CLIENTS = 12


@dataclass
class Call:
    """One entry of the clients' ledger."""

    request_id: bytes
    body: bytes
    wire: bytes = b""

    def response(self) -> Message | None:
        """What the client received, as far as it came."""
        found, _ = h11_responses(self.wire, [b"POST"], ended=True)
        return found[0] if found else None


@dataclass
class Aftermath:
    """What is known after the kills: the clients' ledger, the model server's, and the journals."""

    ledger: list[Call]
    model: Model
    journals: list[list[EndedExchange]]


async def generate(upstream: UpstreamCall) -> None:
    """Stream what names its request, so that no response can be taken for another's."""
    body = await upstream.read_body()
    await upstream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    for number in range(12):
        piece = body[:36] + b" %d " % number + b"z" * 500 + b"\n"
        await upstream.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await asyncio.sleep(0.001)
    await upstream.send(b"0\r\n\r\n")


async def caller(port: int, ledger: list[Call], stop: asyncio.Event, seed: random.Random) -> None:
    """Call again and again, each time with an id of its own; read until the connection or the response ends."""
    while not stop.is_set():
        one = uuid.UUID(int=seed.getrandbits(128))
        call = Call(one.bytes, str(one).encode() + b"y" * seed.randrange(3000))
        ledger.append(call)
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-llm-source: s\r\n"
            b"x-llm-user: u\r\nx-llm-request-type: t\r\nx-request-id: %b\r\ncontent-length: %d\r\n\r\n"
        ) % (str(one).encode(), len(call.body))
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(head + call.body)
                while piece := await reader.read(65536):
                    call.wire += piece
            finally:
                writer.transport.abort()


def journal_of(directory: Path) -> list[EndedExchange]:
    """Everything that a writer's journal holds, read as the shipper reads it."""
    reader = WriterReader(directory)
    found = list(itertools.chain.from_iterable(iter(reader.poll, [])))
    whole = [
        one._replace(
            request_body=[b"".join(one.request_body)],
            chunks=[Chunk(0, b"".join(chunk.data for chunk in one.chunks))],
        )
        for one in found
    ]
    reader.close()
    return whole


async def kill_again_and_again(folders: list[Path], port: int, listener, ledger: list[Call]) -> int:
    """Kill one worker after the other under load; gives how many of them exited in order at the end."""
    seed = random.Random(4)
    workers: list[Worker] = [start(listener, folder, port) for folder in folders]
    stop = asyncio.Event()
    address = listener.getsockname()[1]
    callers = [
        asyncio.ensure_future(caller(address, ledger, stop, random.Random(number)))
        for number in range(CLIENTS)
    ]
    served = 0
    for kill in range(KILLS):
        enough = served + 15
        while served < enough:
            await asyncio.sleep(0.005)
            served = sum(1 for call in ledger if call.wire)
        await asyncio.sleep(seed.random() * 0.02)
        which = kill % len(workers)
        workers[which].kill()
        workers[which] = start(listener, folders[which], port)
    stop.set()
    await asyncio.gather(*callers)
    codes = [await asyncio.to_thread(worker.stop) for worker in workers]
    return codes.count(0)


def run_and_kill(folder: Path) -> Aftermath:
    """The clients' ledger, the model server's, and the journals, after twenty kills."""
    folders = [folder / "w-00000001", folder / "w-00000002"]
    ledger: list[Call] = []
    model = Model([generate])

    async def main() -> int:
        upstream = await asyncio.start_server(model.serve, "127.0.0.1", 0, backlog=4096)
        try:
            with listen() as listener:
                port = upstream.sockets[0].getsockname()[1]
                async with asyncio.timeout(100):
                    return await kill_again_and_again(folders, port, listener, ledger)
        finally:
            upstream.close()
            for call in model.calls:
                call.writer.transport.abort()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        in_order = runner.run(main())
    assert in_order == len(folders)
    return Aftermath(ledger, model, [journal_of(one) for one in folders])


def by_id(journals: list[list[EndedExchange]]) -> dict[bytes, EndedExchange]:
    return {one.request_id: one for journal in journals for one in journal}


def check_bytes_received(after: Aftermath) -> None:
    """Every byte that a client received is in a journal."""
    ledger, journals = after.ledger, after.journals
    kept = by_id(journals)
    received = 0
    for call in ledger:
        response = call.response()
        if response is not None:
            one = kept[call.request_id]
            assert one.damage is None
            assert one.response.status == int(response.start[0])
            assert one.chunks[0].data.startswith(response.body)
            received += 1
            if response.complete:
                assert one.chunks[0].data == response.body
                assert one.end.outcome in {Outcome.COMPLETE, Outcome.INTERRUPTED}
    assert received > KILLS * 10


def check_calls_that_reached_the_model_server(after: Aftermath) -> None:
    """Every call that reached the model server is in a journal, with its whole body."""
    ledger, model, journals = after.ledger, after.model, after.journals
    kept = by_id(journals)
    bodies = {call.request_id: call.body for call in ledger}
    for call in model.calls:
        if call.head.startswith(b"GET /health "):
            continue
        line = next(line for line in call.head.split(b"\r\n") if line.startswith(b"x-request-id: "))
        request_id = uuid.UUID(line[14:].decode()).bytes
        assert kept[request_id].request_body[0] == bodies[request_id]


def check_nothing_is_there_twice(after: Aftermath) -> None:
    """No call is in the journals twice."""
    journals = after.journals
    counts = Counter(one.request_id for journal in journals for one in journal)
    assert max(counts.values()) == 1


def check_sequences(after: Aftermath) -> None:
    """Sequences have no gap in any boot, and every exchange has its end."""
    journals = after.journals
    for journal in journals:
        boots = [list(boot) for _, boot in itertools.groupby(journal, key=lambda one: one.opening.boot)]
        assert [boot[0].opening.boot for boot in boots] == sorted({one.opening.boot for one in journal})
        for boot in boots:
            assert [one.sequence for one in boot] == list(range(len(boot)))
            assert all(one.end is not None and one.damage is None for one in boot)


def check_outcomes(after: Aftermath) -> None:
    """What a kill cut off is recorded as interrupted."""
    journals = after.journals
    outcomes = Counter(one.end.outcome for journal in journals for one in journal)
    assert outcomes[Outcome.INTERRUPTED] > 0
    assert outcomes[Outcome.COMPLETE] > KILLS
    assert set(outcomes) <= {Outcome.INTERRUPTED, Outcome.COMPLETE, Outcome.CLIENT_DISCONNECTED}


def check_both_workers_served(after: Aftermath) -> None:
    """Each worker took its part."""
    journals = after.journals
    assert all(journals)


def test_workers_that_are_killed_twenty_times_under_load_lose_nothing_and_repeat_nothing(tmp_path):
    after = run_and_kill(tmp_path)
    check_bytes_received(after)
    check_calls_that_reached_the_model_server(after)
    check_nothing_is_there_twice(after)
    check_sequences(after)
    check_outcomes(after)
    check_both_workers_served(after)
