"""Statistics: percentiles are real values, and groups come with the contract's names."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls import item, mixed_items
from llm_audit.index.selection import Selection
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.index.tallies import Grouping
from llm_audit.query.statistics import percentile, statistics
from llm_audit.record.schema import Usage


@pytest.fixture
def index(tmp_path):
    one = SqliteIndex(tmp_path / "audit.sqlite3")
    yield one
    one.close()


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values, percent):
    found = percentile(Counter(values), percent)
    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)


def test_of_no_values_there_is_no_percentile():
    assert percentile({}, 50) is None


def test_all_calls_together_are_one_group(index):
    index.put(
        [
            item(number, latency_ms=number, time_to_first_chunk_ms=None, usage=Usage(1, 2, 3))
            for number in range(1, 101)
        ]
    )
    (only,) = statistics(index, Selection()).groups
    assert only.as_dict(Grouping.ALL) == {
        "calls": 100,
        "errors": 0,
        "inputTokens": 100,
        "outputTokens": 200,
        "totalTokens": 300,
        "latencyMs": {"p50": 50, "p95": 95, "p99": 99},
        "timeToFirstChunkMs": {"p50": None, "p95": None, "p99": None},
    }


def test_groups_carry_their_name_under_what_they_are_grouped_by(index):
    items = mixed_items(300)
    index.put(items)
    found = statistics(index, Selection(status="200"), Grouping.SOURCE)
    assert {group.as_dict(found.by)["source"] for group in found.groups} == {"billing", "search", "chat"}
    assert sum(group.calls for group in found.groups) == sum(one.status_code == 200 for one in items)
    assert not found.partial
