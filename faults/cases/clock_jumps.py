"""The wall clock jumps by an hour, back and forth, in all processes of the system (libfaketime)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from faults.load import Load
from faults.objects import compare, read_objects, row
from faults.row import Row, Stage
from faults.system import System, model_server

LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")
SEEN_AFTER_S = 1.1
"""A process looks at the clock's file once a second."""
LONGEST_MS = 60_000
"""No call takes so long here: a latency beyond it was taken from the wall clock."""


def run(stage: Stage) -> Iterator[Row]:
    """Let the clock jump under load; durations must not follow it, and nothing may be lost or named twice."""
    found = [path for pattern in LIBRARIES for path in Path("/").glob(pattern[1:])]
    if not found:
        yield Row("clock jumps", skipped="libfaketime is not installed: apt-get install faketime")
        return
    stage.folder.mkdir(exist_ok=True)
    clock = stage.folder / "clock"
    clock.write_text("+0")
    environ = {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    jumps = stage.choose(2, 30)
    with model_server() as upstream, System(stage.folder, environ=environ, upstream=upstream) as system:
        system.wait_until_ready()
        with Load(system.port, stage.rng, stage.choose(4, 16), pause_s=stage.choose(20, 0) / 1000) as load:
            for _ in range(jumps):
                load.wait_for_answers(stage.rng.randrange(5, 40))
                half_made = clock.with_suffix(".new")
                half_made.write_text(stage.rng.choice(("+0", "+3600", "-3600")))
                half_made.replace(clock)
                time.sleep(SEEN_AFTER_S)
            load.wait_for_answers(20)
        system.stop()
        objects = read_objects(system.objects)
    records = [record for several in objects.records.values() for record in several]
    wrong = sum(not 0 <= record["latencyMs"] < LONGEST_MS for record in records)
    hours = len({str(record["startedAt"])[:13] for record in records})
    note = f"{jumps} jumps, records of {hours} different hours, no latency that follows them"
    done = row("the clock jumps an hour", load.ledger, objects, compare(load.ledger, objects), note)
    yield replace(
        done, findings=(*done.findings, *([f"{wrong} latencies follow the clock"] if wrong else []))
    )
