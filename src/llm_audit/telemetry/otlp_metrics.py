"""Snapshots sent to an OpenTelemetry collector, by a thread of its own: a collector that is away delays nothing.

The SDK's instruments are not used: they would count a second time what is counted already, at many times the cost.
Its exporter is, so that endpoint, headers, TLS, compression, time-outs and retries are what ``OTEL_*`` says.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from llm_audit import __version__
from llm_audit.telemetry.metrics import CALL_METRICS, NODE_METRICS, Kind
from llm_audit.telemetry.metrics import Metric as OurMetric
from llm_audit.telemetry.otlp_resource import SCOPE
from llm_audit.telemetry.snapshot import Distribution, Labels, Snapshot

_LOG = logging.getLogger(__name__)
_NS_PER_MS = 1_000_000


class MetricsSender:
    """Sends the latest snapshot now and then, and the last one at the end."""

    def __init__(self, resource: Resource, *, interval_s: float, temporality: str) -> None:
        """Start the thread. ``temporality`` as in ``OtelPlan``."""
        self._resource, self._interval_s, self._temporality = resource, interval_s, temporality
        self._exporter = OTLPMetricExporter()
        self._latest: Snapshot | None = None
        self._sent: Snapshot | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otlp-metrics", daemon=True)
        self._thread.start()

    def show(self, snapshot: Snapshot) -> None:
        """Give what is to be sent next."""
        self._latest = snapshot

    def close(self, timeout_s: float) -> None:
        """Send once more, within the time limit, and end."""
        self._stopping.set()
        self._thread.join(timeout_s)
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            self._send()
        self._send()

    def _send(self) -> None:
        latest = self._latest
        if latest is None or latest is self._sent:
            return
        try:
            data = metrics_data(latest, self._sent, self._resource, self._temporality)
            if self._exporter.export(data) is MetricExportResult.SUCCESS:
                self._sent = latest
        except Exception as error:  # noqa: BLE001 - the next one is tried all the same
            _LOG.warning("telemetry: metrics were not sent: %s: %s", type(error).__name__, error)


def metrics_data(
    snapshot: Snapshot, sent: Snapshot | None, resource: Resource, temporality: str
) -> MetricsData:
    """Give a snapshot as the exporter takes it; with deltas, what came since ``sent`` (None: since the start)."""
    since = snapshot.since(sent)
    by_delta = AggregationTemporality.DELTA, since
    whole = AggregationTemporality.CUMULATIVE, snapshot
    metrics = [
        *_histograms(*(whole if temporality == "cumulative" else by_delta)),
        *_numbers(*(by_delta if temporality == "delta" else whole)),
    ]
    scope = ScopeMetrics(InstrumentationScope(SCOPE, __version__), metrics, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _histograms(temporality: AggregationTemporality, snapshot: Snapshot) -> Iterator[Metric]:
    for metric in CALL_METRICS:
        series = snapshot.calls.get(metric.name, {}).items()
        points = [_point(metric, labels, each, snapshot) for labels, each in series if any(each.counts)]
        if points:
            yield Metric(metric.name, metric.meaning, metric.unit, Histogram(points, temporality))


def _point(
    metric: OurMetric, labels: Labels, distribution: Distribution, snapshot: Snapshot
) -> HistogramDataPoint:
    return HistogramDataPoint(
        attributes={
            name: int(value) if name == "http.response.status_code" else value for name, value in labels
        },
        start_time_unix_nano=snapshot.started_at * _NS_PER_MS,
        time_unix_nano=snapshot.at * _NS_PER_MS,
        count=distribution.count,
        sum=distribution.total,
        bucket_counts=distribution.counts,
        explicit_bounds=metric.bounds,
        min=None,  # type: ignore[arg-type]  # not counted; the protocol lets both out, the SDK's types do not
        max=None,  # type: ignore[arg-type]
    )


def _numbers(temporality: AggregationTemporality, snapshot: Snapshot) -> Iterator[Metric]:
    for metric in NODE_METRICS:
        value = snapshot.node.get(metric.name)
        if value is None:
            continue
        point = NumberDataPoint({}, snapshot.started_at * _NS_PER_MS, snapshot.at * _NS_PER_MS, float(value))
        is_counter = metric.kind is Kind.COUNTER
        data = Sum([point], temporality, is_monotonic=True) if is_counter else Gauge([point])
        yield Metric(metric.name, metric.meaning, metric.unit, data)
