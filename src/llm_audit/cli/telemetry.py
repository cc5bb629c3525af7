"""The shipper's telemetry, put together: who counts, what is published to be scraped, what is sent by OTLP.

Nothing is counted where nobody could see it. OpenTelemetry's packages are imported only where something is sent.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from llm_audit.cli.settings import Settings
from llm_audit.journal.counted import read_counts, read_refusals
from llm_audit.journal.files import writer_directories
from llm_audit.record.schema import Record
from llm_audit.ship.status import ShipperStatus
from llm_audit.telemetry import metrics
from llm_audit.telemetry.call import Call, call_of
from llm_audit.telemetry.otel_environment import OtelPlan, otel_plan
from llm_audit.telemetry.published import NAME, publish
from llm_audit.telemetry.snapshot import Snapshot
from llm_audit.telemetry.tally import CallTally

_LOG = logging.getLogger(__name__)

_GOODBYE_S = 3.0
"""For what is still to be sent when the shipper ends; everything is stored by then."""

INSTALL = "pip install 'central-llm-audit[otel]'"


class _Sender(Protocol):
    """Sends snapshots."""

    def show(self, snapshot: Snapshot) -> None: ...

    def close(self, timeout_s: float) -> None: ...


class _Spans(Protocol):
    """Sends spans."""

    def add(self, calls: Sequence[Call]) -> None: ...

    def close(self, timeout_s: float) -> None: ...


class ShipperTelemetry:
    """Watches one shipper: a ``ship.watch.Watch``, and one who sees each status."""

    def __init__(
        self,
        settings: Settings,
        *,
        published: Path | None,
        sender: _Sender | None = None,
        spans: _Spans | None = None,
    ) -> None:
        """Begin; ``published`` is the file through which metrics are scraped."""
        self._settings = settings
        self._published, self._sender, self._spans = published, sender, spans
        self._tally = CallTally() if published or sender else None

    def note(self, record: Record) -> Call | None:
        """Give what telemetry wants to know of a record."""
        return call_of(record, with_span=self._spans is not None)

    def stored(self, notes: Sequence[Call]) -> None:
        """Count calls whose records are stored, and make their spans."""
        if self._tally is not None:
            self._tally.add(notes)
        if self._spans is not None:
            self._spans.add(notes)

    def see(self, status: ShipperStatus) -> None:
        """Publish all metrics as of now; what cannot be read or written now, is with the next status."""
        if self._tally is None:
            return
        with suppress(OSError):
            node = figures(status, self._settings)
            snapshot = Snapshot(status.started_at, status.updated_at, self._tally.distributions(), node)
            if self._sender is not None:
                self._sender.show(snapshot)
            if self._published is not None:
                publish(self._published, snapshot)

    def close(self) -> None:
        """Send what is left, within seconds."""
        for sending in (self._sender, self._spans):
            if sending is not None:
                sending.close(_GOODBYE_S)


def open_telemetry(settings: Settings, environ: Mapping[str, str] = os.environ) -> ShipperTelemetry | None:
    """Give the shipper's telemetry, or None where nobody would see it. What is asked and cannot be done is logged."""
    plan = otel_plan(environ)
    for problem in plan.problems:
        _LOG.warning("telemetry: %s", problem)
    sender, spans = _otlp(plan, settings, environ) if plan.sends else (None, None)
    published = settings.status_dir / NAME if settings.is_scraped else None
    if published is None and sender is None and spans is None:
        return None
    return ShipperTelemetry(settings, published=published, sender=sender, spans=spans)


def _otlp(
    plan: OtelPlan, settings: Settings, environ: Mapping[str, str]
) -> tuple[_Sender | None, _Spans | None]:
    """Open what sends by OTLP; what cannot be opened is logged, and left out."""
    try:
        from llm_audit.telemetry.otlp_metrics import MetricsSender  # noqa: PLC0415 - an extra; see above
        from llm_audit.telemetry.otlp_resource import resource_of  # noqa: PLC0415
        from llm_audit.telemetry.otlp_spans import SpanSender  # noqa: PLC0415
    except ImportError as error:
        _LOG.warning("telemetry: an OTLP endpoint is set, and nothing is sent: %s: %s", error, INSTALL)
        return None, None
    try:
        resource = resource_of(environ, service=settings.service, node=platform.node() or "unknown")
        spans = SpanSender(resource) if plan.traces else None
        sender = None
        if plan.metrics:
            sender = MetricsSender(resource, interval_s=plan.interval_s, temporality=plan.temporality)
    except Exception as error:  # noqa: BLE001 - a certificate that is not there must not keep records from being stored
        _LOG.warning("telemetry: nothing is sent by OTLP: %s", error)
        return None, None
    return sender, spans


def figures(status: ShipperStatus, settings: Settings) -> dict[str, float]:
    """Give each of ``NODE_METRICS``. Raises OSError."""
    writers = status.writers.values()
    directories = writer_directories(settings.journal_dir)
    values: dict[metrics.Metric, float] = {
        metrics.STATUS_TIME: status.updated_at / 1000,
        metrics.JOURNAL_USED: status.backlog_bytes,
        metrics.JOURNAL_LIMIT: settings.journal_max_bytes,
        metrics.JOURNAL_UNREADABLE: sum(writer.error is not None for writer in writers),
        metrics.OPEN_CALLS: sum(writer.open_exchanges for writer in writers),
        metrics.SHIPPING_LAG: status.backlog_age_ms / 1000,
        metrics.SHIPPING_WAITING: sum(writer.unshipped for writer in writers),
        metrics.SHIPPING_REFUSED: status.refused,
        metrics.LEDGER_FAILING: float(status.ledger_error is not None),
        metrics.INDEX_UNTOLD: status.untold,
        metrics.QUARANTINE_KEPT: _folders_in(settings.quarantine_dir),
        metrics.RECORDS_STORED: status.stored,
        metrics.RECORDS_QUARANTINED: status.quarantined,
        metrics.BROKEN_LINKS: status.broken_links,
        metrics.STORE_ERRORS: status.store_errors,
        metrics.UNAUDITED: sum(read_counts(directory)[0] for directory in directories),
        metrics.COUNTED_REFUSALS: sum(read_refusals(directory)[0] for directory in directories),
    }
    return {metric.name: value for metric, value in values.items()}


def _folders_in(folder: Path) -> int:
    try:
        with os.scandir(folder) as entries:
            return sum(entry.is_dir(follow_symlinks=False) for entry in entries)
    except FileNotFoundError:
        return 0


def seen_by(*who: Callable[[ShipperStatus], None] | None) -> Callable[[ShipperStatus], None] | None:
    """Give what shows a status to each of those that there are; None where there is nobody."""
    those = [each for each in who if each is not None]
    if not those:
        return None

    def see(status: ShipperStatus) -> None:
        for each in those:
            each(status)

    return see
