"""``stats``: counted exactly, as a table or as JSON lines."""

from __future__ import annotations

import json

import pytest

from calls import record
from recorded import Recorded


@pytest.fixture
def recorded(tmp_path):
    one = Recorded(tmp_path)
    one.keep([record(n, source="billing" if n % 4 else "search", latency_ms=n) for n in range(1, 101)])
    one.keep([record(200, source=None, status_code=500, latency_ms=5000)])
    return one


def test_all_calls_are_counted_together(recorded):
    (line,) = recorded.run("stats", "--json").stdout.splitlines()
    total = json.loads(line)
    assert (total["calls"], total["errors"], total["inputTokens"], total["totalTokens"]) == (
        101,
        1,
        1212,
        4242,
    )
    assert total["latencyMs"] == {"p50": 51, "p95": 96, "p99": 100}


def test_groups_come_largest_first(recorded):
    lines = [
        json.loads(line) for line in recorded.run("stats", "--by", "source", "--json").stdout.splitlines()
    ]
    assert [(line["source"], line["calls"]) for line in lines] == [("billing", 75), ("search", 25), (None, 1)]


def test_filters_narrow_what_is_counted(recorded):
    result = recorded.run("stats", "--json", "--status", "500", "--by", "model")
    assert json.loads(result.stdout)["calls"] == 1
    assert json.loads(result.stdout)["model"] == "demo-1"


def test_a_table_names_groups_and_percentiles(recorded):
    text = recorded.run("stats", "--by", "source").stdout
    for word in ("source", "p99", "first p50", "billing", "search", "5.00 s", "40 ms", "3,150"):
        assert word in text


def test_of_no_calls_it_says_so(recorded):
    result = recorded.run("stats", "--user", "nobody")
    assert (result.exit_code, result.stdout) == (0, "no calls\n")


def test_a_group_that_does_not_exist_is_wrong_usage(recorded):
    assert recorded.run("stats", "--by", "colour").exit_code == 2
