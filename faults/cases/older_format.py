"""A journal that an older version wrote, with calls still open in it: shipped like any other.

``faults/data`` holds one of version 0.1.0, whose writer was killed under load, with what its clients saw: OPEN frames
without ``powerLost``, and a page ``unaudited`` that speaks of three calls of which no record does.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

from faults.clients import Call, Ledger
from faults.objects import compare, counted, read_objects, row
from faults.row import Row, Stage
from faults.system import System, model_server

DATA = Path(__file__).parent.parent / "data"
PASSED = 3


def run(stage: Stage) -> Iterator[Row]:
    """Put the old journal in place, start the system, and stop it when all is stored."""
    seen = json.loads((DATA / "journal-0.1.json").read_text())
    calls = [
        Call(one["request_id"], one["sent"].encode(), one["status"], one["head"].encode(), one["content"].encode(),
             one["ended"])
        for one in seen
    ]  # fmt: skip
    # Of the three calls that passed unrecorded, no client of that day took anything down.
    ledger = Ledger([*calls, *(Call(f"passed-{number}", b"") for number in range(PASSED))])
    stage.folder.joinpath("data").mkdir(parents=True)
    with tarfile.open(DATA / "journal-0.1.tar.gz") as archive:
        archive.extractall(stage.folder / "data", filter="data")
    with model_server() as upstream, System(stage.folder, upstream=upstream) as system:
        system.wait_until_ready()
        system.stop()
        objects = read_objects(system.objects)
    done = row("a journal of version 0.1.0", ledger, objects, compare(ledger, objects))
    passed = counted(objects)[None, "unaudited"]
    if passed != PASSED:
        done = Row(done.fault, findings=(f"{passed} calls that passed are told of, {PASSED} were counted",))
    yield done
