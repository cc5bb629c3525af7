"""A snapshot with something in each metric, and what a scraper makes of one."""

from prometheus_client.parser import text_string_to_metric_families

from calls import NOON_MS, record
from llm_audit.record.schema import Outcome, Usage
from llm_audit.telemetry.call import call_of
from llm_audit.telemetry.metrics import NODE_METRICS
from llm_audit.telemetry.snapshot import Snapshot
from llm_audit.telemetry.tally import CallTally

CALLS = (
    record(1),
    record(2, stream=True, usage=Usage(3, 11, 14), latency_ms=1040),
    record(3, outcome=Outcome.UPSTREAM_ERROR, status_code=502, usage=Usage()),
)


def snapshot(calls=CALLS, *, at=NOON_MS, node=None):
    tally = CallTally()
    tally.add([call_of(each, with_span=False) for each in calls])
    figures = {metric.name: number for number, metric in enumerate(NODE_METRICS)} if node is None else node
    return Snapshot(NOON_MS - 60_000, at, tally.distributions(), figures)


def samples(text):
    """Give each sample as name, labels that have a value, and value."""
    return [
        (sample.name, {name: value for name, value in sample.labels.items() if value}, sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


def value_of(text, name, **labels):
    """Sum the samples of a name that have these labels."""
    return sum(
        value for found, its, value in samples(text) if found == name and labels.items() <= its.items()
    )
