"""Filters: what each asks of an index, how it reads, and which values it refuses."""

from __future__ import annotations

import pytest

from calls import NOON_MS
from llm_audit.index.selection import Comparison, Condition, Order, Selection
from llm_audit.query.filters import (
    FILTER_NAMES,
    FilterError,
    make_filter,
    parse_time,
    selection_of,
    sentence_of,
)


def filters(**values: str):
    return [make_filter(name.replace("_", "-"), value, NOON_MS) for name, value in values.items()]


def test_filters_together_are_one_selection_and_one_sentence():
    some = filters(source="billing", status="500", since="2h", min_latency_ms="1500")
    assert selection_of(some) == Selection(
        source="billing", status="500", since="2026-11-24T10:00:00.000Z", min_latency_ms=1500
    )
    assert sentence_of(some) == (
        "calls of source billing, with status 500, since 2026-11-24T10:00:00.000Z, "
        "that took 1500 ms or longer, newest first"
    )


def test_without_filters_all_calls_are_meant():
    assert selection_of([]) == Selection()
    assert sentence_of([], Order.SLOWEST) == "calls, slowest first"


def test_equalities_and_texts_become_conditions():
    some = filters(outcome="rejected", model="m", request_type="ask", text="50%", user="ada", until="1m")
    assert selection_of(some, Order.SLOWEST) == Selection(
        user="ada",
        until="2026-11-24T11:59:00.000Z",
        order=Order.SLOWEST,
        conditions=(
            Condition(("outcome",), Comparison.EQUALS, "rejected"),
            Condition(("model",), Comparison.EQUALS, "m"),
            Condition(("requestType",), Comparison.EQUALS, "ask"),
            Condition(("promptPreview", "responsePreview"), Comparison.CONTAINS, "50%"),
        ),
    )


def test_the_later_of_two_filters_of_one_name_counts():
    assert selection_of([*filters(source="a"), *filters(source="b")]).source == "b"


def test_refusals_that_stated_nothing_usable_can_be_asked_for():
    assert sentence_of(filters(source="-", user="-", status="none")) == (
        "calls without a usable source, without a usable user, without a status, newest first"
    )


def test_every_filter_has_a_sentence():
    values = {"status": "200", "outcome": "complete", "min-latency-ms": "5", "since": "1h", "until": "1h"}
    for name in FILTER_NAMES:
        one = make_filter(name, values.get(name, "x"), NOON_MS)
        assert one.name == name
        assert one.sentence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", "2026-11-24T11:58:30.000Z"),
        ("7d", "2026-11-17T12:00:00.000Z"),
        ("2w", "2026-11-10T12:00:00.000Z"),
        ("999999w", "1970-01-01T00:00:00.000Z"),
        ("2026-11-24", "2026-11-24T00:00:00.000Z"),
        ("2026-11-24T10:00", "2026-11-24T10:00:00.000Z"),
        ("2026-11-24T10:00:00+02:00", "2026-11-24T08:00:00.000Z"),
        ("2026-11-24T10:00:00.1239Z", "2026-11-24T10:00:00.123Z"),
    ],
)
def test_times_are_absolute_or_so_long_ago(text, expected):
    assert parse_time(text, NOON_MS) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("since", "yesterday"),
        ("since", "1y"),
        ("until", "1960-01-01"),
        ("until", "2026-13-01"),
        ("until", "0001-01-01T00:00+14:00"),
        ("since", "\u0661h"),
        ("status", "ok"),
        ("status", "5xx"),
        ("status", "0200"),
        ("outcome", "fine"),
        ("min-latency-ms", "-1"),
        ("min-latency-ms", "1.5"),
        ("min-latency-ms", "9" * 11),
        ("source", ""),
        ("colour", "red"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_expected(name, value):
    with pytest.raises(FilterError, match=r"expected|only|empty"):
        make_filter(name, value, NOON_MS)
