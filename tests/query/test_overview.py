from itertools import pairwise

import pytest

from calls import NOON_MS, item, mixed_items
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.query.overview import DAY_MS, HOUR_MS, MINUTE_MS, MOST_SLOTS, Range, overview


@pytest.fixture
def index(tmp_path):
    one = SqliteIndex(tmp_path / "audit.sqlite3")
    yield one
    one.close()


@pytest.mark.parametrize(
    ("length", "slot"),
    [(15 * MINUTE_MS, MINUTE_MS), (DAY_MS, 10 * MINUTE_MS), (30 * DAY_MS, HOUR_MS), (90 * DAY_MS, DAY_MS)],
)
def test_a_longer_range_is_counted_in_longer_slots(index, length, slot):
    found = overview(index, Range(NOON_MS - length, NOON_MS), None)
    assert found.slot_ms == slot
    assert len(found.points) in (length // slot, length // slot + 1)
    assert {later.at_ms - earlier.at_ms for earlier, later in pairwise(found.points)} == {slot}


def test_slots_without_a_call_are_zeros_and_have_no_percentiles(index):
    index.put([item(1)])
    found = overview(index, Range(NOON_MS - HOUR_MS, NOON_MS + HOUR_MS), None)
    (busy,) = [point for point in found.points if point.calls]
    assert (busy.at_ms, busy.calls, busy.p50, busy.first_chunk_p95) == (NOON_MS, 1, 120, 40)
    assert {point.p50 for point in found.points if not point.calls} == {None}


def test_totals_and_tables_hold_every_call_of_the_range_and_source(index):
    items = mixed_items(400)
    index.put(items)
    found = overview(index, Range(NOON_MS, NOON_MS + HOUR_MS), "billing")
    ours = [one for one in items if one.source == "billing"]
    assert found.totals.calls == sum(point.calls for point in found.points) == len(ours)
    assert found.totals.input_tokens == sum(one.input_tokens or 0 for one in ours)
    assert {source for source, _, _ in found.models} == {"billing"}
    assert [share.calls for _, share in found.users] == sorted(
        (share.calls for _, share in found.users), reverse=True
    )
    assert [one.latency_ms for one in found.slowest] == sorted(
        (one.latency_ms for one in ours), reverse=True
    )[:10]


def test_a_range_from_the_beginning_of_time_has_a_bounded_series(index):
    assert len(overview(index, Range(0, NOON_MS), None).points) <= MOST_SLOTS + 1
