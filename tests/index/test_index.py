"""What every index keeps, whatever holds it: pages against a plain list as oracle.

``BACKENDS`` has one entry for each kind of index; all pass the same tests.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from calls import item, mixed_items, request_id
from llm_audit.index.activity import activity_of_items
from llm_audit.index.dynamodb import DynamoIndex
from llm_audit.index.schema import keys
from llm_audit.index.selection import Comparison, Condition, InvalidCursorError, Order, Selection
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.index.tallies import Grouping, tally_items
from llm_audit.record.schema import ModelNames


def _sqlite(request, folder):
    return SqliteIndex(folder / "audit.sqlite3")


def _dynamodb(request, folder):
    server = request.getfixturevalue("dynamodb")
    return DynamoIndex(server.table(server.new_table()))


BACKENDS = {"sqlite": _sqlite, "dynamodb": _dynamodb}

FILLED = {SqliteIndex: 1000, DynamoIndex: 250}
PLENTY = {SqliteIndex: 10_000, DynamoIndex: 1000}
"""Items of an index, and of a large one; the local DynamoDB goes through the whole table for each question."""


@pytest.fixture(params=BACKENDS)
def index(request, tmp_path):
    one = BACKENDS[request.param](request, tmp_path)
    yield one
    one.close()


@pytest.fixture(scope="module", params=BACKENDS)
def filled(request, tmp_path_factory):
    """An index and the items in it, only read."""
    one = BACKENDS[request.param](request, tmp_path_factory.mktemp("filled"))
    items = mixed_items(1000)[: FILLED[type(one)]]
    one.put(items)
    yield one, items
    one.close()


def walked(index, selection, size):
    """Every page of a selection, put together."""
    items, cursor = [], None
    while True:
        page = index.query(selection, cursor, size)
        items += page.items
        cursor = page.cursor
        if cursor is None:
            return items


def expected(items, selection):
    """Say once more what a selection means, without any index."""
    when = {"since": selection.since or "", "until": selection.until or "~"}
    chosen = [
        one
        for one in items
        if selection.source in (None, one.source)
        and selection.user in (None, one.user)
        and selection.status in (None, "none" if one.status_code is None else str(one.status_code))
        and when["since"] <= keys(one)["createdAt"] < when["until"]
        and one.latency_ms >= (selection.min_latency_ms or 0)
    ]
    sort = "latencySk" if selection.order is Order.SLOWEST else "createdAt"
    return sorted(chosen, key=lambda one: keys(one)[sort], reverse=True)


SELECTIONS = [
    Selection(),
    Selection(source="search"),
    Selection(user="user-3"),
    Selection(status="500"),
    Selection(status="none"),
    Selection(source="search", user="user-1", status="429"),
    Selection(since="2026-11-24T12:00:00.400Z", until="2026-11-24T12:00:00.900Z"),
    Selection(user="user-3", since="2026-11-24T12:00:00.400Z"),
    Selection(status="200", until="2026-11-24T12:00:00.400Z"),
    Selection(source="chat", min_latency_ms=15_000),
    Selection(source="chat", since="2026-11-24T12:00:00.400Z", min_latency_ms=15_000),
    Selection(source="nobody"),
]


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_pages_put_together_are_the_selection_in_order(filled, selection, order):
    index, items = filled
    chosen = replace(selection, order=order)
    assert walked(index, chosen, 37) == expected(items, chosen)


def test_in_a_large_index_items_are_found_by_each_pattern(index):
    items = mixed_items(PLENTY[type(index)])
    index.put(items)
    for selection in (
        Selection(source="billing"),
        Selection(user="user-0"),
        Selection(status="500"),
        Selection(source="billing", order=Order.SLOWEST),
    ):
        assert list(index.query(selection, limit=100).items) == expected(items, selection)[:100]


def test_further_conditions_hold_on_whatever_path(filled):
    index, items = filled
    model = Condition(("model",), Comparison.EQUALS, "small")
    text = Condition(("promptPreview", "responsePreview"), Comparison.CONTAINS, "QUESTION 1")
    for order in Order:
        for selection in (Selection(order=order), Selection(source="chat", order=order)):
            both = replace(selection, conditions=(model, text))
            wanted = [
                one
                for one in expected(items, selection)
                if one.model == "small" and "question 1" in (one.prompt_preview or "")
            ]
            assert wanted
            assert walked(index, both, 9) == wanted


def test_a_percent_sign_or_underscore_in_a_searched_text_means_itself(index):
    index.put([item(1, prompt_preview="50% of a_b"), item(2, prompt_preview="500 of a-b")])

    def found(text):
        selection = Selection(conditions=(Condition(("promptPreview",), Comparison.CONTAINS, text),))
        return len(index.query(selection).items)

    assert (found("50%"), found("a_b"), found("\\"), found("of")) == (1, 1, 0, 2)


def test_items_that_come_between_pages_neither_repeat_nor_hide_others(index):
    items = mixed_items(300)
    index.put(items[:200])
    first = index.query(Selection(), limit=50)
    index.put(items[200:])
    seen, cursor = list(first.items), first.cursor
    while cursor:
        page = index.query(Selection(), cursor, 50)
        seen += page.items
        cursor = page.cursor
    assert len(set(seen)) == len(seen)
    assert set(items[:200]) <= set(seen)


def test_a_list_that_ends_with_a_full_page_has_no_cursor(index):
    index.put(mixed_items(50))
    assert index.query(Selection(), limit=50).cursor is None
    assert index.query(Selection(), limit=49).cursor is not None


def test_a_cursor_of_another_order_is_refused(index):
    index.put(mixed_items(10))
    cursor = index.query(Selection(), limit=5).cursor
    with pytest.raises(InvalidCursorError):
        index.query(Selection(order=Order.SLOWEST), cursor)


def test_a_page_holds_at_least_one_item(index):
    with pytest.raises(ValueError, match="limit is 0"):
        index.query(Selection(), limit=0)


def test_writing_an_item_again_replaces_it(index):
    index.put([item(1, model=ModelNames(None, "old"))])
    index.put([item(1, model=ModelNames(None, "new"))])
    (only,) = index.query(Selection()).items
    assert only.model == "new"


def test_an_item_is_found_by_what_makes_its_key(index):
    first = item(1)
    second = replace(first, stem=f"{request_id(1)}~w-1-3-9", started_at="2026-11-24T13:00:00.000Z")
    nobody = item(3, source=None)
    index.put([first, second, nobody])
    assert index.item_at("billing", first.started_at, first.stem) == first
    assert index.item_at("billing", second.started_at, second.stem) == second
    assert index.item_at(None, nobody.started_at, nobody.stem) == nobody
    assert index.item_at("search", first.started_at, first.stem) is None


def test_what_arrives_is_told_once_whenever_it_began(index):
    index.put([item(5)])
    position = index.arrivals().position
    assert index.arrivals(position).items == ()
    index.put([item(9), item(2)])
    first = index.arrivals(position)
    assert {one.request_id for one in first.items} == {request_id(9), request_id(2)}
    index.put([item(3)])
    second = index.arrivals(first.position)
    assert [one.request_id for one in second.items] == [request_id(3)]
    assert index.arrivals(second.position).items == ()
    assert {first.partial, second.partial} == {False}
    assert index.poll_seconds > 0


def test_following_begins_with_an_empty_index(index):
    position = index.arrivals().position
    index.put([item(1)])
    assert [one.request_id for one in index.arrivals(position).items] == [request_id(1)]


def test_what_arrives_in_a_rush_is_told_part_by_part(index):
    position = index.arrivals().position
    index.put(mixed_items(30))
    told = []
    while found := index.arrivals(position, limit=7):
        if not found.items:
            break
        assert len(found.items) <= 7
        told += found.items
        position = found.position
    assert sorted(told, key=str) == sorted(mixed_items(30), key=str)


def test_counts_are_what_a_plain_count_gives(filled):
    index, items = filled
    for selection in (Selection(), Selection(source="chat", min_latency_ms=9000), Selection(status="none")):
        for by in Grouping:
            found = index.tallies(selection, by)
            assert found.groups == tally_items(expected(items, selection), by)
            assert not found.partial


def test_every_item_of_a_range_of_time_comes(filled):
    index, items = filled
    since, until = "2026-11-24T12:00:00.400Z", "2026-11-24T12:00:00.900Z"
    for bounds in ({}, {"since": since}, {"until": until}, {"since": since, "until": until}):
        wanted = expected(items, Selection(**bounds))
        assert sorted(index.items(**bounds), key=str) == sorted(wanted, key=str)
    assert list(index.items(until, since)) == []


@pytest.mark.parametrize("characters", [10, 13, 15, 16])
def test_activity_counts_the_selected_calls_over_time(filled, characters):
    index, items = filled
    times = sorted(one.started_at for one in items)
    for selection in (
        Selection(),
        Selection(source="billing"),
        Selection(since=times[40], until=times[-40]),
        Selection(source="search", since=times[40]),
        Selection(source="nobody"),
    ):
        wanted = [one for one in items if _is_in(one, selection)]
        assert index.activity(selection, characters) == activity_of_items(wanted, characters)


def _is_in(one, selection):
    return (
        selection.source in (None, one.source)
        and (selection.since or "") <= one.started_at
        and one.started_at < (selection.until or "~")
    )
