"""Plans: that each access pattern walks its index and sorts nothing, as SQLite itself explains it."""

from __future__ import annotations

import sqlite3

import pytest

from calls import item
from llm_audit.index.schema import attributes
from llm_audit.index.selection import Comparison, Condition, Order, Selection
from llm_audit.index.sqlite_schema import COLUMNS, create_statements, item_of, plans, row_of


@pytest.fixture
def connection():
    with sqlite3.connect(":memory:") as one:
        for statement in create_statements():
            one.execute(statement)
        yield one
    one.close()


def explained(connection, plan) -> str:
    statement, parameters = plan.page(50)
    return " / ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))


MODEL = Condition(("model",), Comparison.EQUALS, "small")


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(source="a"), "SEARCH items USING INDEX by_source (id=?)"),
        (Selection(source="a", since="1"), "SEARCH items USING INDEX by_source (id=? AND createdAt>?)"),
        (Selection(user="u"), "SEARCH items USING INDEX by_user (userIdPk=?)"),
        (
            Selection(user="u", since="1", until="2"),
            "SEARCH items USING INDEX by_user (userIdPk=? AND userIdSk>? AND userIdSk<?)",
        ),
        (Selection(status="500"), "SEARCH items USING INDEX by_status (statusPk=?)"),
        (
            Selection(status="500", until="2"),
            "SEARCH items USING INDEX by_status (statusPk=? AND statusSk<?)",
        ),
        (
            Selection(source="a", order=Order.SLOWEST, min_latency_ms=7),
            "SEARCH items USING INDEX by_source_latency (latencyPk=? AND latencySk>?)",
        ),
        (Selection(), "SCAN items USING INDEX by_time"),
        (Selection(since="1"), "SEARCH items USING INDEX by_time (createdAt>?)"),
        (Selection(order=Order.SLOWEST), "SCAN items USING INDEX by_latency"),
        (
            Selection(conditions=(MODEL,), since="1"),
            "SEARCH items USING INDEX by_model (model=? AND createdAt>?)",
        ),
    ],
)
def test_an_access_pattern_is_a_range_of_one_index_already_in_order(connection, selection, expected):
    assert explained(connection, plans(selection)[0]) == expected


def test_the_slowest_of_a_user_may_be_found_through_the_user_and_sorted(connection):
    plan = next(plan for plan in plans(Selection(user="u", order=Order.SLOWEST)) if plan.index == "by_user")
    assert not plan.is_ordered
    assert explained(connection, plan).startswith("SEARCH items USING INDEX by_user (userIdPk=?)")


def test_the_newest_of_a_sources_slow_calls_may_be_found_by_latency_and_sorted(connection):
    some = plans(Selection(source="a", min_latency_ms=60_000))
    plan = next(plan for plan in some if plan.index == "by_source_latency")
    assert explained(connection, plan).startswith(
        "SEARCH items USING INDEX by_source_latency (latencyPk=? AND latencySk>?)"
    )
    assert not any(plan.index.endswith("latency") for plan in plans(Selection(source="a")))


def test_statistics_read_the_time_index_alone(connection):
    plan = plans(Selection(since="1", status="500", conditions=(MODEL,)))[-1]
    columns = "id, userIdPk, model, outcome, statusCode, latencyMs, timeToFirstChunkMs, sum(inputTokens)"
    parameters = (*plan.range_parameters, *plan.parameters)
    (row,) = connection.execute(f"EXPLAIN QUERY PLAN SELECT {columns} {plan.source()}", parameters)
    assert row[3] == "SEARCH items USING COVERING INDEX by_time (createdAt>?)"


def test_every_plan_of_every_selection_is_valid_sql(connection):
    text = Condition(("promptPreview", "responsePreview"), Comparison.CONTAINS, "50%")
    for order in Order:
        full = Selection("s", "u", "200", "1", "2", 3, order, (MODEL, text))
        for plan in plans(full):
            assert plan.index in explained(connection, plan)
            assert connection.execute(*plan.probe(9)).fetchone() == (0,)


def test_values_never_become_part_of_a_statement(connection):
    evil = "'; DROP TABLE items; --"
    condition = Condition(("outcome",), Comparison.EQUALS, evil)
    for plan in plans(Selection(evil, evil, evil, evil, evil, conditions=(condition,))):
        assert "DROP" not in plan.page(1)[0]


def test_an_attribute_that_does_not_exist_is_refused_by_name():
    with pytest.raises(ValueError, match="nonsense"):
        plans(Selection(conditions=(Condition(("nonsense",), Comparison.EQUALS, 1),)))


def test_a_row_gives_back_its_item():
    for one in (item(1), item(2, source=None, status_code=None, finish_reasons=("a,b", "é"), stream=True)):
        assert item_of(row_of(one)) == one


def test_columns_are_the_names_of_the_item_and_the_wide_ones_stand_last():
    assert set(COLUMNS) == set(attributes(item(1)))
    assert COLUMNS[-2:] == ("promptPreview", "responsePreview")
