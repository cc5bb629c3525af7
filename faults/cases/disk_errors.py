"""The disk says EIO: when the journal syncs, when it writes, and when the shipper does either."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from faults import outage
from faults.outage import Outage
from faults.row import Row, Stage
from faults.system import System, model_server

SYNCS = "fdatasync,fsync"
WRITES = "pwrite64,fallocate,ftruncate"
"""What the journal makes its files with; frames themselves are stores into mapped memory, which cannot fail."""

ONCE = "1"
ALWAYS = "1+"


def run(stage: Stage) -> Iterator[Row]:
    """Let system calls of a running process fail; one row for each kind, process and policy."""
    if not outage.strace_is_there():
        yield Row("EIO", skipped="strace is not installed: apt-get install strace")
        return
    kinds = [
        ("proxy-1", SYNCS, ALWAYS, "host", "reject"),
        ("proxy-1", SYNCS, ALWAYS, "process", "pass"),
        ("proxy-1", SYNCS, ONCE, "host", "reject"),
        ("proxy-1", SYNCS, ALWAYS, "process", "reject"),
        ("proxy-1", SYNCS, ALWAYS, "host", "pass"),
        ("proxy-1", WRITES, ALWAYS, "process", "reject"),
        ("proxy-1", WRITES, ALWAYS, "process", "pass"),
        ("shipper", SYNCS, ALWAYS, "process", "reject"),
        ("shipper", "pwrite64,write", ALWAYS, "process", "reject"),
    ]
    with model_server() as upstream:
        for kind in kinds if stage.choose(0, 1) else [stage.rng.choice(kinds[:4])]:
            yield _fail(stage, upstream, *kind)


def _fail(
    stage: Stage, upstream: int, victim: str, calls: str, when: str, durability: str, policy: str
) -> Row:
    name = f"EIO {'once' if when == ONCE else 'always'} on {calls} of {victim}, {durability}, {policy}"
    settings = {"AUDIT_WHEN_FULL": policy, "AUDIT_JOURNAL_MAX_BYTES": "8MiB"}
    folder = stage.folder / name.replace(" ", "-").replace(",", "")
    system = System(folder, durability=durability, settings=settings, upstream=upstream)

    @contextmanager
    def failing() -> Iterator[None]:
        with outage.failing_calls(system.children()[victim], calls, when=when):
            yield

    # Where the shipper cannot write, calls go on as long as the journal has room; and one failed sync is soon over.
    passes = policy == "pass"
    effects = 1 if when == ONCE else 0 if victim == "shipper" else 300 if passes else 10
    return outage.run(stage, system, Outage(name, failing(), effects, passes=passes), stage.choose(16, 64))
