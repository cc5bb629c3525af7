"""Processes that die, again and again, at the points that the journal and the shipper name."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from faults.clients import BODIES
from faults.load import Load
from faults.objects import compare, read_objects, row
from faults.row import Row, Stage
from faults.system import System, model_server
from llm_audit.journal.crash import POINTS

LONG = b'{"model":"m","messages":[{"role":"user","content":"Count to %d"}],"stream":true}'
"""A stream that is open over several segments, so that there is something to carry over."""

PASSAGES = {"boot-numbered": 1, "before-roll": 1, "after-roll": 1, "recovery-written": 1, "recovery-named": 1,
            "carry-written": 1, "carry-named": 1, "before-delete": 1, "segment-deleted": 1,
            "digest-made": 1, "digest-kept": 1, "digest-put": 1}  # fmt: skip
"""Which passage is deadly where points are passed rarely; elsewhere dice say, up to ``MOST_PASSAGES``."""

MOST_PASSAGES = 100
"""Of one process: some seconds of load even where a machine does ten calls a second."""

PATIENCE_S = 120.0
"""How long the first death is waited for; further ones, no longer than a quarter of that from the beginning."""

NEEDS_A_DEATH = {"boot-numbered", "recovery-written", "recovery-named"}
"""Passed only where a boot is opened: the proxy is killed for it."""


def run(stage: Stage) -> Iterator[Row]:
    """Let a system die at each point; one row each. The short scale takes one of them."""
    points = list(POINTS) if stage.choose(0, 1) else [stage.rng.choice(sorted(POINTS))]
    with model_server() as upstream:
        for point in points:
            yield _die_at(point, upstream, stage)


def _die_at(point: str, upstream: int, stage: Stage) -> Row:
    passage = PASSAGES.get(point, stage.rng.randrange(1, MOST_PASSAGES))
    settings = {"AUDIT_JOURNAL_MAX_BYTES": "8MiB"}
    # What is carried over must be open while all that ended beside it is stored already: longer, and less beside it.
    carries = point.startswith("carry")
    bodies = (*BODIES.values(), LONG % (4000 if carries else 800))
    clients = 12 if carries else stage.choose(8, 64)
    with System(stage.folder / point, settings=settings, upstream=upstream) as system:
        system.wait_until_ready()
        system.environ["LLM_AUDIT_CRASH_AT"] = f"{point}:{passage}"
        with Load(system.port, stage.rng, clients, bodies=bodies) as load:
            load.wait_for_answers(20)
            system.restart()
            deaths = _let_it_die(system, load, point, stage.rng, stage.choose(1, 3))
            system.environ.clear()
            system.restart()
            system.wait_until_ready()
            load.wait_for_answers(20)
        system.stop()
        objects = read_objects(system.objects)
        note = f"{deaths} deaths, at passage {passage}"
        done = row(f"dies at {point}", load.ledger, objects, compare(load.ledger, objects), note)
        return done if deaths else Row(done.fault, findings=(f"nothing died at {point}:{passage}",))


def _let_it_die(system: System, load: Load, point: str, rng: random.Random, wanted: int) -> int:
    """Let the system live until so many deaths were seen, or one, where more would take too long."""
    began = time.monotonic()
    while (deaths := system.restarts()) < wanted:
        waited = time.monotonic() - began
        if waited > (PATIENCE_S / 4 if deaths else PATIENCE_S):
            break
        if point in NEEDS_A_DEATH:
            system.kill("proxy-1")
        load.wait_for_calls(rng.randrange(100, 300), seconds=1.0)
    return deaths
