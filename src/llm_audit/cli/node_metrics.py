"""The shipper's status as CloudWatch metrics: once a minute one line on standard output, where that is asked for."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from llm_audit.cli.settings import Settings
from llm_audit.journal.counted import read_counts
from llm_audit.journal.files import writer_directories
from llm_audit.ship.status import ShipperStatus
from llm_audit.telemetry.emf import NodeMetrics, NodeSample

EVERY_S = 60.0
"""CloudWatch keeps one value a minute."""


def node_metrics(settings: Settings, descriptor: int) -> Callable[[ShipperStatus], None] | None:
    """Give what is to see each status, or None where ``AUDIT_CLOUDWATCH_METRICS`` is off.

    The first status is written at once, so that whoever sets it up sees something, and the last one at the end.
    """
    if settings.cloudwatch_metrics == "off":
        return None
    metrics = NodeMetrics(settings.service, unaudited_before=_counted(settings.journal_dir)[1])
    due = 0.0

    def see(status: ShipperStatus) -> None:
        nonlocal due
        with suppress(OSError):  # a page that cannot be read now; no reason to stop what is being stored
            metrics.add(_sample(status, settings))
        now = time.monotonic()
        if now < due and status.state != "stopped":
            return
        due = now + EVERY_S
        line = metrics.line(status.updated_at)
        if line is not None and _written(descriptor, line.encode("ascii") + b"\n"):
            metrics.told()

    return see


def _sample(status: ShipperStatus, settings: Settings) -> NodeSample:
    return NodeSample(
        journal_used_ratio=status.backlog_bytes / settings.journal_max_bytes,
        shipping_lag_s=status.backlog_age_ms / 1000,
        quarantined=status.quarantined,
        store_errors=status.store_errors,
        unaudited=_counted(settings.journal_dir)[0],
    )


def _counted(journal: Path) -> tuple[int, int]:
    """Give how many calls all writers let through unrecorded, and of how many of them a record speaks."""
    counts = [read_counts(directory) for directory in writer_directories(journal)]
    return sum(total for total, _ in counts), sum(reported for _, reported in counts)


def _written(descriptor: int, line: bytes) -> bool:
    """Write a line if that can be done at once: a log that nobody reads must not keep records from being stored.

    A pipe that is ready takes a page (Linux: PIPE_BUF, 4096 bytes) whole; the line is far shorter.
    """
    assert len(line) <= select.PIPE_BUF
    waiting = select.poll()
    waiting.register(descriptor, select.POLLOUT)
    if not any(event & select.POLLOUT for _, event in waiting.poll(0)):
        return False
    try:
        return os.write(descriptor, line) == len(line)
    except OSError:
        return False
