"""SIGTERM in the middle of everything: what is under way ends whole, then what is there is stored."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import replace

from faults.load import Load
from faults.objects import compare, read_objects, row
from faults.row import Row, Stage
from faults.system import System, model_server


def run(stage: Stage) -> Iterator[Row]:
    """Tell the supervisor to stop under load, start it again, and so on; no answer may be cut."""
    stops = stage.choose(2, 20)
    missed = []
    settings = {"AUDIT_DRAIN_TIMEOUT": "60s"}
    with model_server() as upstream, System(stage.folder, settings=settings, upstream=upstream) as system:
        system.wait_until_ready()
        with Load(system.port, stage.rng, stage.choose(16, 64)) as load:
            for _ in range(stops):
                load.wait_for_answers(stage.rng.randrange(1, 60))
                time.sleep(stage.rng.uniform(0.0, 0.1))
                system.process.send_signal(signal.SIGTERM)
                if code := system.process.wait(90):
                    missed.append(f"exit code {code}")
                left = system.segments_left()
                if left:
                    missed.append(f"{left} journal segments are left after a drain")
                system.start()
                system.wait_until_ready()
        system.stop()
        objects = read_objects(system.objects)
    cut = sum(call.status is not None and not call.ended for call in load.ledger.calls)
    if cut:
        missed.append(f"{cut} answers were cut")
    note = f"{stops} times, no answer cut"
    done = row("SIGTERM under load, drained", load.ledger, objects, compare(load.ledger, objects), note)
    yield replace(done, findings=(*done.findings, *missed))
