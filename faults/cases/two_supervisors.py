"""A second supervisor on the same journal: it must refuse, and harm nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace

from faults.load import Load
from faults.objects import compare, read_objects, row
from faults.row import Row, Stage
from faults.system import System, free_port, model_server

REFUSED = 2


def run(stage: Stage) -> Iterator[Row]:
    """Start a second one under load, on another port; then a third after the first has ended."""
    missed = []
    with model_server() as upstream, System(stage.folder, upstream=upstream) as system:
        system.wait_until_ready()
        with Load(system.port, stage.rng, 16) as load:
            load.wait_for_answers(20)
            environ = os.environ | system.settings | {"AUDIT_LISTEN": f"127.0.0.1:{free_port()}"}
            second = subprocess.run(
                system.command(), env=environ, capture_output=True, timeout=60, check=False
            )
            if second.returncode != REFUSED:
                missed.append(
                    f"the second supervisor ended with {second.returncode}: {second.stderr[-300:]!r}"
                )
            if not load.wait_for_answers(20):
                missed.append("the first one does not go on")
        system.stop()
        objects = read_objects(system.objects)
    said = second.stderr.decode(errors="replace").replace(str(stage.folder), "").strip().splitlines()
    note = f"it said: {said[-1][:200]}"
    done = row("two supervisors on one journal", load.ledger, objects, compare(load.ledger, objects), note)
    yield replace(done, findings=(*done.findings, *missed))
