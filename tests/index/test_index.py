"""What every index keeps, whatever holds it: pages against a plain list as oracle.

``BACKENDS`` has one entry for each kind of index; all pass the same tests.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from calls import item, mixed_items, request_id
from llm_audit.index.schema import keys
from llm_audit.index.selection import Comparison, Condition, InvalidCursorError, Order, Selection
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.record.schema import ModelNames

BACKENDS = {"sqlite": lambda folder: SqliteIndex(folder / "audit.sqlite3")}


@pytest.fixture(params=BACKENDS)
def index(request, tmp_path):
    one = BACKENDS[request.param](tmp_path)
    yield one
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
def test_pages_put_together_are_the_selection_in_order(index, selection, order):
    items = mixed_items(1000)
    index.put(items)
    chosen = replace(selection, order=order)
    assert walked(index, chosen, 37) == expected(items, chosen)


def test_ten_thousand_items_are_found_by_each_pattern(index):
    items = mixed_items(10_000)
    index.put(items)
    for selection in (
        Selection(source="billing"),
        Selection(user="user-0"),
        Selection(status="500"),
        Selection(source="billing", order=Order.SLOWEST),
    ):
        assert list(index.query(selection, limit=100).items) == expected(items, selection)[:100]


def test_further_conditions_hold_on_whatever_path(index):
    items = mixed_items(1000)
    index.put(items)
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
    (only,) = index.get(request_id(1))
    assert only.model == "new"


def test_a_call_is_found_by_its_id_and_two_calls_with_one_id_both(index):
    first = item(1)
    second = replace(first, stem=f"{request_id(1)}~w-1-3-9", started_at="2026-11-24T13:00:00.000Z")
    index.put([first, second, item(2)])
    assert index.get(request_id(1)) == (first, second)
    assert index.get(second.stem) == (second,)
    assert index.get("nothing") == ()


RANGES = [
    (None, None),
    ("2026-11-24T12:00:00.400Z", None),
    (None, "2026-11-24T12:00:00.400Z"),
    ("2026-11-24T12:00:00.400Z", "2026-11-24T12:00:01.900Z"),
    ("2026-11-25T00:00:00.000Z", None),
]


@pytest.mark.parametrize(("since", "until"), RANGES)
def test_every_item_of_a_range_of_time_comes(index, since, until):
    items = mixed_items(2500)
    index.put(items)
    found = list(index.items(since, until))
    assert set(found) == set(expected(items, Selection(since=since, until=until)))


def test_items_of_one_call_under_two_sources_both_come_also_where_a_page_ends(index):
    items = [one for n in range(1200) for one in (item(n), item(n, source="other"))]
    index.put(items)
    assert set(index.items()) == set(items)


def test_items_that_are_put_while_all_are_read_hide_no_other(index):
    items = mixed_items(3000)
    index.put(items[:2500])
    walk = index.items()
    seen = {next(walk)}
    index.put(items[2500:])
    seen.update(walk)
    assert set(items[:2500]) <= seen <= set(items)
