import itertools

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.sdk.resources import Resource

from calls import NOON_MS, record
from cli.waiting import eventually
from llm_audit.telemetry.metrics import (
    CALL_METRICS,
    DURATION,
    NODE_METRICS,
    RECORDS_STORED,
    SHIPPING_LAG,
    Kind,
)
from llm_audit.telemetry.otlp_metrics import MetricsSender
from otlp_collector import Collector, attributes
from telemetry.metrics_kit import snapshot

CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
NEVER = 3600.0


@pytest.fixture
def collector(monkeypatch):
    with Collector() as one:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", one.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=ours")
        yield one


@pytest.fixture
def sender(collector):
    opened = []

    def given(interval_s=NEVER, temporality="cumulative"):
        opened.append(
            MetricsSender(Resource({"service.name": "x"}), interval_s=interval_s, temporality=temporality)
        )
        return opened[-1]

    yield given
    for each in opened:
        each.close(10)


def points(metric):
    data = getattr(metric, metric.WhichOneof("data"))
    return data.data_points


def test_every_metric_arrives_with_unit_meaning_and_kind(collector, sender):
    one = sender()
    one.show(snapshot())
    one.close(10)
    for metric in (*CALL_METRICS, *NODE_METRICS):
        found = collector.metric(metric.name)
        assert (found.unit, found.description) == (metric.unit, metric.meaning)
        expected = {Kind.HISTOGRAM: "histogram", Kind.COUNTER: "sum", Kind.GAUGE: "gauge"}[metric.kind]
        assert found.WhichOneof("data") == expected
    assert collector.headers[0]["x-tenant"] == "ours"
    assert attributes(collector.metrics[0].resource_metrics[0].resource)["service.name"] == "x"


def test_a_histogram_has_the_conventions_boundaries_and_no_invented_extremes(collector, sender):
    one = sender()
    one.show(snapshot([record(1), record(2, latency_ms=3000)]))
    one.close(10)
    found = collector.metric(DURATION.name)
    assert found.histogram.aggregation_temporality == CUMULATIVE
    (point,) = points(found)
    assert tuple(point.explicit_bounds) == DURATION.bounds
    assert (point.count, round(point.sum, 6)) == (2, 3.12)
    assert len(point.bucket_counts) == len(DURATION.bounds) + 1
    assert not point.HasField("min")
    assert not point.HasField("max")
    assert point.start_time_unix_nano == (NOON_MS - 60_000) * 1_000_000
    assert attributes(point) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "demo",
        "gen_ai.response.model": "demo-1",
        "llm_audit.source": "billing",
        "llm_audit.outcome": "complete",
        "http.response.status_code": 200,
    }


def test_it_is_sent_again_and_again(collector, sender):
    one = sender(interval_s=0.01)
    for number in itertools.count(1):
        one.show(snapshot(node={RECORDS_STORED.name: number}))
        if len(collector.metrics) >= 3:
            break
        eventually(lambda number=number: len(collector.metrics) >= number)
    values = [points(collector.metric(RECORDS_STORED.name, at))[0].as_double for at in range(3)]
    assert values == sorted(set(values))


@pytest.mark.parametrize(
    ("temporality", "histogram", "counter", "counts", "stored"),
    [
        ("cumulative", CUMULATIVE, CUMULATIVE, [1, 3], [5, 9]),
        ("delta", DELTA, DELTA, [1, 2], [5, 4]),
        ("lowmemory", DELTA, CUMULATIVE, [1, 2], [5, 9]),
    ],
)
def test_the_preferred_temporality_is_kept(
    collector, sender, temporality, histogram, counter, counts, stored
):
    one = sender(interval_s=0.01, temporality=temporality)
    one.show(snapshot([record(1)], node={RECORDS_STORED.name: 5, SHIPPING_LAG.name: 8}))
    eventually(lambda: collector.metrics)
    one.show(
        snapshot(
            [record(1), record(2), record(3)],
            at=NOON_MS + 1,
            node={RECORDS_STORED.name: 9, SHIPPING_LAG.name: 7},
        )
    )
    eventually(lambda: len(collector.metrics) == 2)
    durations = [collector.metric(DURATION.name, at).histogram for at in (0, 1)]
    sums = [collector.metric(RECORDS_STORED.name, at).sum for at in (0, 1)]
    assert [each.aggregation_temporality for each in durations] == [histogram] * 2
    assert [each.aggregation_temporality for each in sums] == [counter] * 2
    assert [each.data_points[0].count for each in durations] == counts
    assert [each.data_points[0].as_double for each in sums] == stored
    assert points(collector.metric(SHIPPING_LAG.name))[0].as_double == 7


def test_a_delta_that_was_refused_is_in_the_next_one(collector, sender):
    collector.refuse_with = 400
    one = sender(interval_s=0.01, temporality="delta")
    one.show(snapshot([record(1)]))
    eventually(lambda: collector.headers)
    one.show(snapshot([record(1), record(2)], at=NOON_MS + 1))
    collector.refuse_with = 0
    eventually(lambda: collector.metrics)
    assert collector.metric(DURATION.name).histogram.data_points[0].count == 2


def test_a_collector_that_is_away_holds_up_no_end(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    one = MetricsSender(Resource({}), interval_s=NEVER, temporality="cumulative")
    one.show(snapshot())
    one.close(0.05)
    one._thread.join(60)
    assert not one._thread.is_alive()
