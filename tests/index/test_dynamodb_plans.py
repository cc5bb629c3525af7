"""Plans: which index answers what, and questions that DynamoDB takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calls import item, request_id
from llm_audit.index.dynamodb_plans import Walk, query_arguments, walk_of
from llm_audit.index.selection import (
    Comparison,
    Condition,
    InvalidCursorError,
    Order,
    Selection,
    cursor_after,
)

MODEL = Condition(("model",), Comparison.EQUALS, "small")
TEXT = Condition(("promptPreview", "responsePreview"), Comparison.CONTAINS, "x")


@pytest.mark.parametrize(
    ("selection", "index", "value"),
    [
        (Selection(source="s", user="u", status="500"), "GSI_UserTime", "user#u"),
        (Selection(source="s", status="500"), "GSI_StatusTime", "status#500"),
        (Selection(source="s", status="200"), None, "project#s"),
        (Selection(status="200"), "GSI_StatusTime", "status#200"),
        (Selection(), "GSI_StatusTime", None),
        (Selection(source="s", order=Order.SLOWEST), "GSI_ProjectLatency", "project#s"),
        (Selection(source="s", user="u", order=Order.SLOWEST), "GSI_ProjectLatency", "project#s"),
    ],
    ids=str,
)
def test_the_most_telling_index_is_read_in_its_order(selection, index, value):
    walk = walk_of(selection)
    assert (walk.index, walk.value, walk.is_in_order) == (index, value, True)


def test_the_slowest_of_anything_but_a_source_are_sorted_after_reading():
    walk = walk_of(Selection(user="u", order=Order.SLOWEST))
    assert (walk.index, walk.is_in_order) == ("GSI_UserTime", False)


def test_a_cursor_bounds_the_range_on_whatever_index():
    one = item(7)
    when = f"2026-11-24T12:00:00.007Z#{request_id(7)}"
    cursor = cursor_after(one, Order.NEWEST)
    assert walk_of(Selection(user="u"), cursor).high == when
    assert walk_of(Selection(), cursor).high == f"2026-11-24T12:00:00.007Z#project#{request_id(7)}"
    assert walk_of(Selection(until="2026-11-01"), cursor).high == "2026-11-01"
    slowest = cursor_after(one, Order.SLOWEST)
    assert walk_of(Selection(source="s", order=Order.SLOWEST), slowest).high == f"latency#0000000120#{when}"
    with pytest.raises(InvalidCursorError):
        walk_of(Selection(), slowest)


def test_a_range_that_can_hold_nothing_is_not_asked_for():
    assert walk_of(Selection(source="s", since="2026-12", until="2026-11")).is_empty
    assert not walk_of(Selection(source="s", since="2026-11", until="2026-12")).is_empty


@pytest.mark.parametrize(
    ("low", "high", "clause"),
    [
        (None, None, "#p = :p"),
        ("a", None, "#p = :p AND #s >= :low"),
        (None, "b", "#p = :p AND #s < :high"),
        ("a", "b", "#p = :p AND #s BETWEEN :low AND :high"),
    ],
)
def test_a_range_is_one_condition_on_the_sort_key(low, high, clause):
    walk = Walk("id", "project#s", "createdAt", low, high, ())
    arguments = query_arguments(walk, "project#s", None, 10)
    assert arguments["KeyConditionExpression"] == clause
    assert set(arguments["ExpressionAttributeNames"]) == {name for name in ("#p", "#s") if name in clause}


def test_dynamodb_tests_what_it_can_and_never_a_key():
    walk = walk_of(Selection(source="s", user="u", status="500", min_latency_ms=9, conditions=(MODEL, TEXT)))
    arguments = query_arguments(walk, "user#u", None, 10)
    named, values = arguments["ExpressionAttributeNames"], arguments["ExpressionAttributeValues"]
    tests = arguments["FilterExpression"]
    for alias, name in named.items():
        tests = tests.replace(alias, name)
    assert sorted(tests.split(" AND ")) == sorted(
        [
            f"statusCode = {_alias(values, '500')}",
            f"latencyMs >= {_alias(values, '9')}",
            f"model = {_alias(values, 'small')}",
        ]
    )


def _alias(values, text):
    return next(alias for alias, value in values.items() if text in value.values())


def test_calls_without_a_status_are_told_by_what_they_lack():
    walk = walk_of(replace(Selection(user="u", status="none")))
    assert query_arguments(walk, "user#u", None, 1)["FilterExpression"].startswith("attribute_not_exists(")
