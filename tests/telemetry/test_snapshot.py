import orjson
import pytest

from calls import NOON_MS, record
from llm_audit.telemetry.metrics import DURATION, RECORDS_STORED, SHIPPING_LAG
from llm_audit.telemetry.snapshot import Snapshot
from telemetry.metrics_kit import snapshot


def test_a_snapshot_read_again_is_the_same():
    one = snapshot()
    assert Snapshot.from_document(orjson.loads(orjson.dumps(one.as_document()))) == one


def test_another_version_is_not_read_and_unknown_metrics_are_left_out():
    document = snapshot().as_document()
    assert Snapshot.from_document(document | {"version": 2}) is None
    later = document | {"node": {**document["node"], "llm_audit.of.tomorrow": 1}}
    assert Snapshot.from_document(later) == snapshot()


@pytest.mark.parametrize("rubbish", [[], {}, {"version": 1}, {"version": 1, "calls": 7}, None, "x"])
def test_rubbish_is_said_to_be_rubbish(rubbish):
    with pytest.raises((AttributeError, LookupError, TypeError, ValueError)):
        Snapshot.from_document(rubbish)


def test_what_came_since_is_the_difference_of_what_is_counted_and_the_present_level():
    before = snapshot([record(1)], node={RECORDS_STORED.name: 5, SHIPPING_LAG.name: 9})
    after = snapshot(
        [record(1), record(2, latency_ms=5), record(3, source="new")],
        at=NOON_MS + 1000,
        node={RECORDS_STORED.name: 7, SHIPPING_LAG.name: 1},
    )
    since = after.since(before)
    assert sorted(each.count for each in since.calls[DURATION.name].values()) == [1, 1]
    assert since.node == {RECORDS_STORED.name: 2, SHIPPING_LAG.name: 1}
    assert (since.started_at, since.at) == (NOON_MS, NOON_MS + 1000)
    assert after.since(None) is after
