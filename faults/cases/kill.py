"""SIGKILL of every process at random instants, under mixed load."""

from __future__ import annotations

import asyncio
import collections
import random
from collections.abc import Iterator
from dataclasses import replace

import uvloop

from faults.clients import Ledger, keep_calling
from faults.objects import compare, read_objects, row
from faults.row import Row, Stage
from faults.system import System

SHARES = {"proxy": 5, "shipper": 4, "console": 2, "supervisor": 1, "model": 1}
"""Of the kills. While the model server or the whole system starts there is little load, so these two come rarely."""

CHILDREN = {"proxy", "shipper", "model"}
"""Those that must be there before the next is killed; a console is killed where there is one."""


def run(stage: Stage) -> Iterator[Row]:
    """Kill and kill again; one row for each durability."""
    for durability, kills in (("process", stage.choose(8, 200)), ("host", stage.choose(0, 60))):
        if not kills:
            continue
        ledger = Ledger()
        with System(stage.folder / durability, durability=durability) as system:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                clients = stage.choose(16, 64)
                killed = runner.run(_kill_under_load(system, ledger, kills, clients, stage.rng))
            system.stop()
            objects = read_objects(system.objects)
            note = f"{killed.total()} kills ({', '.join(f'{n} {c}' for n, c in killed.most_common())})"
            done = row(f"SIGKILL at random instants, durability {durability}", ledger, objects,
                       compare(ledger, objects), note)  # fmt: skip
            if left := system.segments_left():
                done = replace(done, findings=(*done.findings, f"{left} journal segments are left"))
            yield done


async def _kill_under_load(
    system: System, ledger: Ledger, kills: int, clients: int, rng: random.Random
) -> collections.Counter[str]:
    over = False
    load = asyncio.create_task(keep_calling(system.port, ledger, rng, clients, lambda: over))
    killed: collections.Counter[str] = collections.Counter()
    try:
        while killed.total() < kills:
            await _some_calls(ledger, rng.randrange(clients * 8))
            await asyncio.sleep(rng.uniform(0.0, 0.05))
            name = await asyncio.to_thread(_kill_one, system, rng)
            if name is not None:
                killed[name] += 1
        await asyncio.to_thread(system.wait_until_ready)
        await asyncio.sleep(0.5)
    finally:
        over = True
        await load
    return killed


async def _some_calls(ledger: Ledger, count: int) -> None:
    """Let the clients make so many calls more, or a few seconds pass: nobody answers while the system starts."""
    enough = len(ledger.calls) + count
    for _ in range(300):
        if len(ledger.calls) >= enough:
            return
        await asyncio.sleep(0.01)


def _kill_one(system: System, rng: random.Random) -> str | None:
    victims = sorted(system.children())
    if not {victim.split("-")[0] for victim in victims} >= CHILDREN:
        return None
    victims.append("supervisor")
    name = rng.choices(victims, [SHARES[victim.split("-")[0]] for victim in victims])[0]
    return name.split("-")[0] if system.kill(name) else None
