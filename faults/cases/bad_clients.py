"""Clients that leave, dawdle, say nothing, or ask for everything at once, between good calls."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import random
import resource
import time
from collections.abc import Iterator

from faults.clients import Call, Ledger, new_id, read_response, request
from faults.load import Load
from faults.manners import MANNERS, Manner
from faults.objects import Objects, compare, differences, read_objects, row
from faults.parts import good_row, part_row
from faults.row import Row, Stage
from faults.scripted import ScriptedServer
from faults.scripts import GOOD_BODIES
from faults.system import System

IDLE_S = 75
"""How long the proxy lets a connection say nothing."""

PIPELINED = 200
"""Requests in one write: more than the 64 KiB that the proxy reads ahead."""


def run(stage: Stage) -> Iterator[Row]:
    """Have clients behave badly, all at once, while others call as they should."""
    waits = stage.choose(1, 5)
    settings = {"AUDIT_CLIENT_TIMEOUT": f"{waits}s"}
    bad = [(manner, Call("", manner.body)) for manner in MANNERS for _ in range(stage.choose(2, 20))]
    piped = [[_piped(stage.rng) for _ in range(PIPELINED)] for _ in range(stage.choose(2, 20))]
    with ScriptedServer() as server, System(stage.folder, settings=settings, upstream=server.port) as system:
        system.wait_until_ready()
        with Load(system.port, stage.rng, stage.choose(3, 16), bodies=GOOD_BODIES, pause_s=0.02) as load:
            silent = asyncio.run(_all(system.port, stage, waits, bad, piped, load))
        system.stop()
        objects = read_objects(system.objects)
    yield from _rows(bad, objects)
    yield silent
    pipelined = Ledger([call for calls in piped for call in calls])
    yield good_row(f"client: pipelines {PIPELINED} calls in one write", pipelined, objects)
    yield good_row("good calls beside them", load.ledger, objects)
    every = Ledger([*(call for _, call in bad), *pipelined.calls, *load.ledger.calls])
    yield row("clients that behave badly, all together", every, objects, compare(every, objects))


def _piped(rng: random.Random) -> Call:
    return Call(new_id(rng), rng.choice(GOOD_BODIES))


async def _all(
    port: int, stage: Stage, waits: int, bad: list[tuple[Manner, Call]], piped: list[list[Call]], load: Load
) -> Row:
    count = _as_many_as_can_be_open(stage.choose(100, 2000))
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    began = time.monotonic()
    for _, call in bad:
        call.request_id = new_id(stage.rng)
    before = load.ledger.whole
    await asyncio.gather(
        *(manner.play(port, call, waits) for manner, call in bad),
        *(_pipeline(port, calls) for calls in piped),
    )
    missed = [] if load.ledger.whole > before else ["no good call was answered beside them"]
    note = f"{count:,} connections, open while {load.ledger.whole - before:,} good calls were answered"
    if stage.choose(0, 1):
        async with asyncio.timeout(IDLE_S + 30):
            left = await asyncio.gather(*(reader.read() for reader, _ in silent))
        note += f"; the proxy ended each, the last after {time.monotonic() - began:.0f} s"
        if any(left):
            missed.append("a connection that said nothing was answered")
    for _, writer in silent:
        writer.transport.abort()
    return Row("client: opens connections and says nothing", 0, 0, 0, 0, 0, tuple(missed), note)


def _as_many_as_can_be_open(wanted: int) -> int:
    """Raise this process's own limit of open files as far as it goes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500)


async def _pipeline(port: int, calls: list[Call]) -> None:
    """Write all requests at once, and read the answers in their order."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(map(request, calls)))
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        for call in calls:
            await read_response(reader, call)
    writer.transport.abort()


def _rows(bad: list[tuple[Manner, Call]], objects: Objects) -> Iterator[Row]:
    kinds: dict[str, list[tuple[Manner, Call]]] = {}
    for manner, call in bad:
        kinds.setdefault(manner.kind, []).append((manner, call))
    for kind, calls in kinds.items():
        found: collections.Counter[str] = collections.Counter()
        seen: collections.Counter[str] = collections.Counter()
        for manner, call in calls:
            records = objects.records.get(call.request_id, [])
            came = f"{records[0]['outcome']} {records[0]['statusCode']}" if records else "no record"
            seen[f"{manner.name}: {came}"] += 1
            if came not in manner.expected:
                found[f"{manner.name}: {came}; expected: {' or '.join(manner.expected)}"] += 1
            if call.status == 408 and not call.ended:
                found["after 408 the connection was not ended"] += 1
            if records and call.status is not None:
                found.update(differences(call, records[0]))
        note = "; ".join(f"{what} ({count})" for what, count in sorted(seen.items()))
        yield part_row(f"client: {kind}", Ledger([call for _, call in calls]), objects, found, note)
