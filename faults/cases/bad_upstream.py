"""A model server that goes wrong in many ways, between good calls; then it dies, and is not there.

Each bad answer must reach its own caller as what it is, cut or as 502 or 504, be recorded so, and harm no other call: no
connection of the pool may carry a surplus into the next answer.
"""

from __future__ import annotations

import asyncio
import collections
import random
import time
from collections.abc import Iterator

from faults.clients import Call, Client, Ledger
from faults.load import Load
from faults.objects import Objects, compare, differences, read_objects, row
from faults.parts import good_row, part_row
from faults.row import Row, Stage
from faults.scripted import LATER_S, ScriptedServer
from faults.scripts import CHUNKS, GOOD_BODIES, SCRIPTS, SURPLUS_LATER, Script, body_for
from faults.system import System

STREAMING = (*GOOD_BODIES, body_for(f"{CHUNKS}500"))
"""With a stream that takes long enough to die in."""


def run(stage: Stage) -> Iterator[Row]:
    """Play every script between good calls, then let surplus come late, then let the server die again and again."""
    settings = {"AUDIT_UPSTREAM_TIMEOUT": f"{stage.choose(3, 5)}s", "AUDIT_JOURNAL_MAX_BYTES": "1GiB"}
    with ScriptedServer() as server, System(stage.folder, settings=settings, upstream=server.port) as system:
        system.wait_until_ready()
        bad, late, gone = Ledger(), Ledger(), Ledger()
        with Load(system.port, stage.rng, stage.choose(3, 48), bodies=GOOD_BODIES, pause_s=0.02) as good:
            asyncio.run(_play_all(system.port, bad, stage.rng, stage.choose(1, 10)))
        asyncio.run(_late_surplus(system.port, late, stage.rng, stage.choose(2, 20)))
        deaths = _die_and_return(server, system, gone, stage)
        system.stop()
        objects = read_objects(system.objects)
    yield from _rows_of_scripts(bad, objects)
    yield good_row("good calls beside them", good.ledger, objects)
    yield good_row("an answer's surplus comes while its connection rests", late, objects)
    yield _row_of_deaths(gone, deaths, objects)
    every = Ledger([call for ledger in (bad, good.ledger, late, gone) for call in ledger.calls])
    yield row("a model server that goes wrong, all together", every, objects, compare(every, objects))


async def _play_all(port: int, ledger: Ledger, rng: random.Random, times: int) -> None:
    async def one(name: str, dice: random.Random) -> None:
        client = Client(port, ledger, dice, (body_for(name),))
        for _ in range(times):
            await client.call()
        client.leave()

    await asyncio.gather(*(one(name, random.Random(rng.getrandbits(64))) for name in SCRIPTS))


async def _late_surplus(port: int, ledger: Ledger, rng: random.Random, times: int) -> None:
    """Let each surplus arrive on a connection that rests, and call again."""
    for _ in range(times):
        for body in (body_for(SURPLUS_LATER), *GOOD_BODIES):
            client = Client(port, ledger, random.Random(rng.getrandbits(64)), (body,))
            await client.call()
            client.leave()
            await asyncio.sleep(4 * LATER_S if body is not GOOD_BODIES[0] else 0.0)


def _die_and_return(server: ScriptedServer, system: System, ledger: Ledger, stage: Stage) -> int:
    """Kill the server under load, let calls find nobody there, and start it again."""
    deaths = stage.choose(2, 20)
    with Load(system.port, stage.rng, stage.choose(4, 48), bodies=STREAMING, ledger=ledger) as load:
        for _ in range(deaths):
            load.wait_for_answers(stage.rng.randrange(20, 100))
            server.end()
            load.wait_for_answers(8, status=502)
            time.sleep(stage.rng.uniform(0.0, 0.2))
            server.start()
        if not load.wait_for_answers(50):
            raise RuntimeError("nothing is answered after the model server is back")
    return deaths


def _rows_of_scripts(ledger: Ledger, objects: Objects) -> Iterator[Row]:
    played: dict[str, list[tuple[str, Call]]] = {}
    for call in ledger.calls:
        name = call.sent.rpartition(b'"script":"')[2].partition(b'"')[0].decode()
        played.setdefault(SCRIPTS[name].kind, []).append((name, call))
    for kind, calls in played.items():
        found: collections.Counter[str] = collections.Counter()
        seen: collections.Counter[str] = collections.Counter()
        for name, call in calls:
            records = objects.records.get(call.request_id, [])
            found["recorded twice"] += len(records) > 1
            if not records:
                found[f"not on record: {name}"] += 1
                continue
            found.update(differences(call, records[0]))
            was, wanted = _outcome(call, records[0]), _expected(SCRIPTS[name])
            seen[was] += 1
            if was != wanted:
                found[f"{name}: {was}; expected: {wanted}"] += 1
        ways = len({name for name, _ in calls})
        note = f"{ways} ways; seen " + "; ".join(f"{what}: {count}" for what, count in seen.most_common())
        yield part_row(f"model server: {kind}", Ledger([call for _, call in calls]), objects, found, note)


def _outcome(call: Call, record: dict[str, object]) -> str:
    error = record["error"]
    kind = f" ({error['type']})" if isinstance(error, dict) else ""
    return f"{call.status} {'whole' if call.ended else 'cut'}, {record['outcome']}{kind}"


def _expected(script: Script) -> str:
    kind = f" ({script.error})" if script.error else ""
    return f"{script.status} {'whole' if script.whole else 'cut'}, {script.outcome}{kind}"


def _row_of_deaths(ledger: Ledger, deaths: int, objects: Objects) -> Row:
    """Take what a dead server leaves: whole answers of its own, cut ones, and 502; each recorded as what it was."""
    found: collections.Counter[str] = collections.Counter()
    seen: collections.Counter[str] = collections.Counter()
    for call in ledger.calls:
        records = objects.records.get(call.request_id, [])
        found["not on record"] += not records and call.code is None
        for record in records[:1]:
            found.update(differences(call, record))
            was = _outcome(call, record)
            seen[was] += 1
            whole = call.status == 200 and call.ended
            found[f"recorded otherwise than it ended: {was}"] += whole != (record["outcome"] == "complete")
        names_itself = call.is_its_own or call.sent not in GOOD_BODIES
        found["another call's answer"] += call.status == 200 and call.ended and not names_itself
    note = f"{deaths} times; seen " + "; ".join(f"{what}: {count:,}" for what, count in seen.most_common())
    return part_row("model server: dies in the middle, refuses, restarts", ledger, objects, found, note)
