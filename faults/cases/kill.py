"""SIGKILL of every process at random instants, under mixed load."""

from __future__ import annotations

import collections
import random
import time
from collections.abc import Iterator
from dataclasses import replace

from faults.load import Load
from faults.objects import compare, read_objects, row
from faults.reconciling import reconciled
from faults.row import Row, Stage
from faults.system import System

SHARES = {"proxy": 5, "shipper": 4, "console": 2, "supervisor": 1, "model": 1}
"""Of the kills. While the model server or the whole system starts there is little load, so these two come rarely."""

CHILDREN = {"proxy", "shipper", "model"}
"""Those that must be there before the next is killed; a console is killed where there is one."""


def run(stage: Stage) -> Iterator[Row]:
    """Kill and kill again; one row for each durability."""
    for durability, kills in (("process", stage.choose(4, 200)), ("host", stage.choose(0, 60))):
        if not kills:
            continue
        with System(stage.folder / durability, durability=durability, console=True) as system:
            with Load(system.port, stage.rng, stage.choose(8, 64)) as load:
                killed = _kill(system, load, kills, stage.rng)
            system.stop()
            objects = read_objects(system.objects)
            note = f"{killed.total()} kills ({', '.join(f'{n} {c}' for n, c in killed.most_common())})"
            done = row(f"SIGKILL at random instants, durability {durability}", load.ledger, objects,
                       compare(load.ledger, objects), note)  # fmt: skip
            done = replace(done, findings=(*done.findings, *reconciled(system, done.records or 0)))
            if left := system.segments_left():
                done = replace(done, findings=(*done.findings, f"{left} journal segments are left"))
            yield done


def _kill(system: System, load: Load, kills: int, rng: random.Random) -> collections.Counter[str]:
    killed: collections.Counter[str] = collections.Counter()
    while killed.total() < kills:
        load.wait_for_calls(rng.randrange(500))
        time.sleep(rng.uniform(0.0, 0.05))
        name = _kill_one(system, rng)
        if name is not None:
            killed[name] += 1
    system.wait_until_ready()
    load.wait_for_answers(10)
    return killed


def _kill_one(system: System, rng: random.Random) -> str | None:
    victims = sorted(system.children())
    if not {victim.split("-")[0] for victim in victims} >= CHILDREN:
        return None
    victims.append("supervisor")
    name = rng.choices(victims, [SHARES[victim.split("-")[0]] for victim in victims])[0]
    return name.split("-")[0] if system.kill(name) else None
