"""A fault that comes and goes while clients call: refused by policy or let through and counted, never silent."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

from faults.load import Load
from faults.objects import compare, read_objects, row
from faults.row import Row, Stage
from faults.system import System


@dataclass(frozen=True, slots=True)
class Outage:
    """One fault, and what is promised while it lasts."""

    name: str
    fault: AbstractContextManager[object]
    effects: int
    """So many calls must be refused with 503 (or pass and be counted) before the fault goes; 0: none need be."""
    passes: bool = False
    """``AUDIT_WHEN_FULL=pass``: calls go on."""
    seconds: float = 20.0
    """The longest that is waited for the effect."""


def run(stage: Stage, system: System, outage: Outage, clients: int) -> Row:
    """Let the fault come and go under load in a system that is started here; hold everything against the ledger."""
    missed = []
    with system:
        system.wait_until_ready()
        with Load(system.port, stage.rng, clients) as load:
            load.wait_for_answers(clients)
            with outage.fault:
                status = 200 if outage.passes else 503
                if not load.wait_for_answers(outage.effects, outage.seconds, status=status):
                    missed.append(f"under the fault fewer than {outage.effects} calls were answered {status}")
            if not load.wait_for_answers(clients, 60.0):
                missed.append("it does not recover when the fault goes")
        system.stop()
        objects = read_objects(system.objects)
    comparison = compare(load.ledger, objects, may_pass=outage.passes)
    if outage.passes and outage.effects and not comparison.counted_only:
        missed.append("no call passed unrecorded: the fault had no effect")
    done = row(outage.name, load.ledger, objects, comparison)
    return replace(done, findings=(*done.findings, *missed))


def is_root() -> bool:
    """Tell whether filesystems can be mounted and other processes' limits set."""
    return os.geteuid() == 0


def strace_is_there() -> bool:
    """Tell whether system calls can be made to fail."""
    return shutil.which("strace") is not None


@contextmanager
def failing_calls(pid: int, calls: str, error: str = "EIO", when: str = "1+") -> Iterator[None]:
    """Let these system calls of a running process (and its threads) fail, inside the block.

    Raises RuntimeError where this machine does not allow it.
    """
    command = ["strace", "-f", "-p", str(pid), "-o", "/dev/null", "-e", f"trace={calls}"]
    inject = ["-e", f"inject={calls}:error={error}:when={when}"]
    tracer = subprocess.Popen([*command, *inject], stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    try:
        said = tracer.stderr.readline()
        if "attached" not in said:
            raise RuntimeError(f"strace cannot watch process {pid}: {said.strip()}")
        yield
    finally:
        tracer.terminate()
        tracer.communicate()
