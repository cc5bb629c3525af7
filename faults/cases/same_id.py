"""The same request id, a thousand times: every call is kept, under a name of its own."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Iterator

from faults.clients import Call, Ledger, new_id, read_response, request
from faults.objects import body_of, gaps, read_objects
from faults.row import Row, Stage, sentences
from faults.system import System, model_server


def run(stage: Stage) -> Iterator[Row]:
    """Call with one id and as many different bodies; hold the bodies against the records."""
    count = stage.choose(200, 1000)
    request_id = new_id(stage.rng)
    ledger = Ledger([Call(request_id, _body(number)) for number in range(count)])
    with model_server(0.0) as upstream, System(stage.folder, upstream=upstream) as system:
        system.wait_until_ready()
        asyncio.run(_call_all(system.port, ledger))
        system.stop()
        objects = read_objects(system.objects)
    records = objects.records.get(request_id, [])
    kept = collections.Counter((body_of(one["request"]), body_of(one["response"])) for one in records)
    seen = collections.Counter((call.sent, call.content) for call in ledger.calls if call.ended)
    found = gaps(objects.places)
    found["answered, and not on record"] = (seen - kept).total()
    found["recorded, and not so answered"] = (kept - seen).total()
    found["not answered"] = sum(not call.ended for call in ledger.calls)
    broken = gaps(objects.places).total()
    yield Row(f"one request id, {count:,} calls", count, ledger.acknowledged, objects.count, 0, broken,
              sentences((+found).items()), "each under a name of its own")  # fmt: skip


def _body(number: int) -> bytes:
    return b'{"model":"m","messages":[{"role":"user","content":"Repeat: number %d"}]}' % number


async def _call_all(port: int, ledger: Ledger) -> None:
    waiting = iter(ledger.calls)

    async def one() -> None:
        for call in waiting:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(call))
            await read_response(reader, call)
            writer.transport.abort()

    await asyncio.gather(*(one() for _ in range(16)))
