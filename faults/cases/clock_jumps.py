"""The wall clock jumps by an hour, back and forth, in all processes of the system."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from faults.clock import FastClock, compiler
from faults.load import Load
from faults.objects import compare, read_objects, row
from faults.row import Row, Stage
from faults.system import System, model_server

LONGEST_MS = 60_000
"""No call takes so long here: a latency beyond it was taken from the wall clock."""


def run(stage: Stage) -> Iterator[Row]:
    """Let the clock jump under load; durations must not follow it, and nothing may be lost or named twice."""
    if compiler() is None:
        yield Row(
            "clock jumps", skipped="a clock that jumps needs a C compiler: apt-get install gcc libc6-dev"
        )
        return
    stage.folder.mkdir(exist_ok=True)
    clock = FastClock.make(stage.folder, rate=1)
    jumps = stage.choose(3, 60)
    with model_server() as upstream, System(stage.folder, environ=clock.environ, upstream=upstream) as system:
        system.wait_until_ready()
        with Load(system.port, stage.rng, stage.choose(8, 16)) as load:
            for number in range(jumps):
                load.wait_for_answers(stage.rng.randrange(5, 40))
                clock.jump_to((3600, -3600, 0)[number % 3])
                time.sleep(stage.rng.uniform(0.0, 0.3))
            load.wait_for_answers(20)
        system.stop()
        objects = read_objects(system.objects)
    records = [record for several in objects.records.values() for record in several]
    wrong = sum(not 0 <= record["latencyMs"] < LONGEST_MS for record in records)
    hours = len({str(record["startedAt"])[:13] for record in records})
    note = f"{jumps} jumps, records of {hours} different hours, no latency that follows them"
    done = row("the clock jumps an hour", load.ledger, objects, compare(load.ledger, objects), note)
    missed = [f"{wrong} latencies follow the clock"] if wrong else []
    if hours < 3:
        missed.append(f"records of {hours} hours: the clock did not jump")
    yield replace(done, findings=(*done.findings, *missed))
