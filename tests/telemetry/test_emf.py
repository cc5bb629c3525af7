import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from llm_audit.telemetry.emf import METRICS, NodeMetrics, NodeSample

QUIET = NodeSample(0.0, 0.0, 0, 0, 0)


def values(metrics, at_ms=1_764_000_000_000):
    document = json.loads(metrics.line(at_ms))
    return {name: document[name] for name in METRICS}


def test_a_line_is_one_object_of_the_embedded_metric_format():
    metrics = NodeMetrics("prod")
    metrics.add(NodeSample(0.25, 1.5, 2, 3, 4))
    line = metrics.line(1_764_000_000_123)
    assert "\n" not in line
    assert json.loads(line) == {
        "_aws": {
            "Timestamp": 1_764_000_000_123,
            "CloudWatchMetrics": [
                {
                    "Namespace": "CentralLLMAudit",
                    "Dimensions": [["Service"]],
                    "Metrics": [
                        {"Name": "JournalUsedRatio", "Unit": "None"},
                        {"Name": "ShippingLagSeconds", "Unit": "Seconds"},
                        {"Name": "QuarantinedRecords", "Unit": "Count"},
                        {"Name": "StoreErrors", "Unit": "Count"},
                        {"Name": "UnauditedCalls", "Unit": "Count"},
                    ],
                }
            ],
        },
        "Service": "prod",
        "JournalUsedRatio": 0.25,
        "ShippingLagSeconds": 1.5,
        "QuarantinedRecords": 2,
        "StoreErrors": 3,
        "UnauditedCalls": 4,
    }


def test_a_level_that_peaked_between_two_lines_shows():
    metrics = NodeMetrics("prod")
    for ratio, lag in ((0.1, 0.0), (0.9, 40.0), (0.2, 1.0)):
        metrics.add(replace(QUIET, journal_used_ratio=ratio, shipping_lag_s=lag))
    assert values(metrics) | {"JournalUsedRatio": 0.9, "ShippingLagSeconds": 40.0} == values(metrics)
    metrics.told()
    metrics.add(replace(QUIET, journal_used_ratio=0.2))
    assert values(metrics)["JournalUsedRatio"] == 0.2


def test_before_the_first_sample_there_is_no_line():
    metrics = NodeMetrics("prod")
    assert metrics.line(0) is None
    metrics.told()
    assert metrics.line(0) is None


def test_what_a_former_life_told_is_not_told_again():
    metrics = NodeMetrics("prod", unaudited_before=7)
    metrics.add(replace(QUIET, unaudited=9))
    assert values(metrics)["UnauditedCalls"] == 2


def test_a_journal_that_was_removed_takes_nothing_back():
    metrics = NodeMetrics("prod", unaudited_before=7)
    metrics.add(QUIET)
    assert values(metrics)["UnauditedCalls"] == 0


@given(st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=1))
def test_the_counts_of_the_written_lines_add_up_to_the_total(steps):
    metrics, total, summed = NodeMetrics("prod"), 0, 0
    for increase, is_written in steps:
        total += increase
        metrics.add(replace(QUIET, store_errors=total))
        if is_written:
            summed += values(metrics)["StoreErrors"]
            metrics.told()
    metrics.add(replace(QUIET, store_errors=total))
    assert summed + values(metrics)["StoreErrors"] == total
