"""Ten thousand refused calls a second for a minute: good calls beside them go on, and every refusal is counted."""

from __future__ import annotations

import collections
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from faults import flood
from faults.load import Load
from faults.objects import Objects, counted, gaps, read_objects
from faults.parts import good_row
from faults.row import Row, Stage, sentences
from faults.scripted import ScriptedServer
from faults.scripts import GOOD_BODIES
from faults.system import System, memory_note

RATE = 10_000
CONNECTIONS = 64
CLIENTS = 8
PAUSE_S = 0.02
"""Between two calls of a good client."""


def run(stage: Stage) -> Iterator[Row]:
    """Let refused calls come in at that rate, and hold both kinds against what is stored."""
    seconds = stage.choose(1, 60)
    with ScriptedServer() as server, System(stage.folder, upstream=server.port) as system:
        system.wait_until_ready()
        with Load(system.port, stage.rng, CLIENTS, bodies=GOOD_BODIES, pause_s=PAUSE_S) as load:
            before = _per_second(load, stage.choose(5, 100) / 10)
            rested = system.memory()
            process = flood.start(system.port, seconds, CONNECTIONS, RATE, stage.rng.getrandbits(32))
            meanwhile = _per_second(load, seconds)
            said = process.communicate(timeout=seconds + 120)[0]
            after = _per_second(load, stage.choose(5, 100) / 10)
        memory = memory_note(rested, system.memory(at_most=True))
        system.stop()
        objects = read_objects(system.objects)
    ids = {call.request_id for call in load.ledger.calls}
    yield _row_of_refused(json.loads(said), objects, ids)
    note = f"{before:,.0f} a second before, {meanwhile:,.0f} meanwhile, {after:,.0f} after, {CLIENTS} clients; {memory}"
    done = good_row("good calls beside them", load.ledger, objects, note)
    if not meanwhile:
        done = replace(done, findings=(*done.findings, "no good call was answered beside them"))
    yield done


def _per_second(load: Load, seconds: float) -> float:
    before, began = load.ledger.whole, time.monotonic()
    time.sleep(seconds)
    return (load.ledger.whole - before) / (time.monotonic() - began)


def _row_of_refused(said: dict[str, Any], objects: Objects, good: set[str]) -> Row:
    """Hold every answer against the records of single refusals and the counts of the others, by status and code."""
    one_by_one: collections.Counter[str] = collections.Counter()
    found: collections.Counter[str] = collections.Counter()
    for request_id, records in objects.records.items():
        if request_id not in good:
            for record in records:
                one_by_one[f"{record['statusCode']} {record['error']['type']}"] += 1
                found["recorded otherwise than as rejected"] += record["outcome"] != "rejected"
    in_counts = collections.Counter(
        {f"{status} {code}": calls for (status, code), calls in counted(objects).items()}
    )
    answered = collections.Counter(said["answered"])
    for kind in answered | one_by_one | in_counts:
        missing = answered[kind] - one_by_one[kind] - in_counts[kind]
        found[f"answered {kind}, neither recorded nor counted"] += max(0, missing)
        found[f"{kind} recorded or counted, and not answered"] += max(0, -missing)
    found["not answered"] += said["sent"] - answered.total()
    found["connections that were ended"] += said["lost"]
    broken = gaps(objects.places)
    note = (
        f"{said['sent'] / said['seconds']:,.0f} a second of {RATE:,} asked for, for {said['seconds']:.0f} s, on {CONNECTIONS} "
        f"connections; {one_by_one.total():,} recorded one by one, {in_counts.total():,} counted in {len(objects.counting):,} records"
    )
    return Row(
        "refused calls at 10,000 a second",
        said["sent"],
        answered.total(),
        one_by_one.total() + len(objects.counting),
        0,
        broken.total(),
        sentences((+(found + broken)).items()),
        note,
    )
