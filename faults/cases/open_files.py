"""No file descriptors are left: EMFILE in the proxy and in the shipper."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults import outage
from faults.outage import Outage
from faults.row import Row, Stage
from faults.system import System, model_server

HURTS_S = 3.0
"""How long it lasts: there is no one event that the lack must show in."""


def run(stage: Stage) -> Iterator[Row]:
    """Lower the limit of a running process below what it uses, and raise it again."""
    if not outage.is_root():
        yield Row("EMFILE", skipped="only root can raise another process's limit again")
        return
    with model_server() as upstream:
        for victim in (
            ("proxy-1", "shipper") if stage.choose(0, 1) else [stage.rng.choice(("proxy-1", "shipper"))]
        ):
            settings = {"AUDIT_JOURNAL_MAX_BYTES": "8MiB"}
            system = System(stage.folder / victim, settings=settings, upstream=upstream)
            without = Outage(f"EMFILE in {victim}", _no_more_files(system, victim), 0)
            yield outage.run(stage, system, without, stage.choose(16, 64))


@contextmanager
def _no_more_files(system: System, victim: str) -> Iterator[None]:
    pid = system.children()[victim]
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - names only
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used // 2, before[1]))
    try:
        time.sleep(HURTS_S)
        yield
    finally:
        if Path(f"/proc/{pid}").exists():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
