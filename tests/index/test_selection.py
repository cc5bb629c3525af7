"""Selections: their access paths, and cursors that only we can have made."""

from __future__ import annotations

import base64
import json

import pytest

from calls import item
from llm_audit.index.selection import (
    Comparison,
    Condition,
    InvalidCursorError,
    Order,
    Selection,
    access_paths,
    cursor_after,
    parse_cursor,
)


def test_a_source_over_time_is_a_range_of_its_partition():
    path, whole = access_paths(Selection(source="billing", since="2026-11-01", until="2026-12-01"))
    assert path.partition == ("id", "project#billing")
    assert (path.sort, path.low, path.high) == ("createdAt", "2026-11-01", "2026-12-01")
    assert path.conditions == ()
    assert whole.conditions == (Condition(("id",), Comparison.EQUALS, "project#billing"),)


def test_a_user_comes_before_a_source_and_a_source_before_a_status():
    paths = access_paths(Selection(source="billing", user="ada", status="500"))
    assert [path.partition and path.partition[0] for path in paths] == ["userIdPk", "id", "statusPk", None]
    assert [condition.attributes[0] for condition in paths[0].conditions] == ["id", "statusPk"]


def test_a_status_over_time_uses_the_status_key_and_leaves_latency_to_be_tested():
    path = access_paths(Selection(status="none", min_latency_ms=7))[0]
    assert path.partition == ("statusPk", "status#none")
    assert path.sort == "statusSk"
    assert path.conditions == (Condition(("latencyMs",), Comparison.AT_LEAST, 7),)


def test_a_source_by_latency_starts_at_the_padded_least_latency_and_tests_times():
    path = access_paths(Selection(source="a", since="2026", min_latency_ms=5, order=Order.SLOWEST))[0]
    assert path.partition == ("latencyPk", "project#a")
    assert (path.low, path.high) == ("latency#0000000005", None)
    assert path.conditions == (Condition(("createdAt",), Comparison.AT_LEAST, "2026"),)


def test_without_a_source_the_slowest_are_sought_in_the_whole_table():
    (whole,) = access_paths(Selection(user="ada", order=Order.SLOWEST))
    assert (whole.partition, whole.sort) == (None, "latencySk")
    assert whole.conditions == (Condition(("userIdPk",), Comparison.EQUALS, "user#ada"),)


def test_a_cursor_ends_the_range_at_its_item_on_every_path():
    last = item(5)
    cursor = parse_cursor(cursor_after(last, Order.NEWEST), Order.NEWEST)
    user, status, _ = access_paths(Selection(user="ada", status="200", until="2030"), cursor)
    assert user.high == f"{last.started_at}#{last.stem}"
    assert status.high == f"{last.started_at}#project#{last.stem}"


def test_an_end_before_the_cursor_still_counts():
    cursor = parse_cursor(cursor_after(item(5), Order.NEWEST), Order.NEWEST)
    assert access_paths(Selection(until="2020"), cursor)[0].high == "2020"


def test_a_cursor_of_another_order_is_refused():
    with pytest.raises(InvalidCursorError, match="sorted newest"):
        parse_cursor(cursor_after(item(1), Order.NEWEST), Order.SLOWEST)


def packed(values: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "....",
        "é",
        packed({}),
        packed(3),
        packed([]),
        packed([1, "newest", "a", "b"]),
        packed([2, "newest", "a", "b", 1]),
        packed([1, "newest", 1, "b", 1]),
        packed([1, "newest", "a", "b", "c"]),
        packed([1, "newest", "a", None, 1]),
    ],
)
def test_what_is_no_cursor_is_refused(text):
    with pytest.raises(InvalidCursorError, match="is no cursor"):
        parse_cursor(text, Order.NEWEST)
