"""A snapshot as Prometheus reads it: its text format, or OpenMetrics where the scraper asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from llm_audit.telemetry.metrics import (
    CALL_METRICS,
    LABELS,
    NODE_METRICS,
    TOKEN_TYPE,
    TOKENS,
    Kind,
    Metric,
    prometheus_label,
)
from llm_audit.telemetry.snapshot import Distribution, Labels, Snapshot

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


def exposition(snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
    """Give the body and its content type, for what the request's ``accept`` asks."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Told(snapshot))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Told(Collector):
    """One snapshot, as a collector of Prometheus' client."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Family]:
        for metric in CALL_METRICS:
            yield _histogram(metric, self._snapshot)
        for metric in NODE_METRICS:
            value = self._snapshot.node.get(metric.name)
            if value is not None:
                family = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
                yield family(metric.prometheus, metric.meaning, value=value)


def _histogram(metric: Metric, snapshot: Snapshot) -> HistogramMetricFamily:
    names = (*LABELS, TOKEN_TYPE) if metric is TOKENS else LABELS
    family = HistogramMetricFamily(metric.prometheus, metric.meaning, labels=[*map(prometheus_label, names)])
    for labels, distribution in snapshot.calls.get(metric.name, {}).items():
        family.add_metric(_values(names, labels), _buckets(metric, distribution), distribution.total)
    return family


def _values(names: tuple[str, ...], labels: Labels) -> list[str]:
    values = dict(labels)
    return [values.get(name, "") for name in names]


def _buckets(metric: Metric, distribution: Distribution) -> list[tuple[str, float]]:
    ends = (*map(floatToGoString, metric.bounds), "+Inf")
    return list(zip(ends, accumulate(distribution.counts), strict=True))
