"""Lists: one call's worth of pages, put together."""

from __future__ import annotations

import pytest

from calls import NOON_MS, mixed_items
from llm_audit.index.index import Page
from llm_audit.index.selection import Order
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.query.filters import make_filter
from llm_audit.query.pages import LARGEST_PAGE, list_calls, pages


@pytest.fixture
def index(tmp_path):
    one = SqliteIndex(tmp_path / "audit.sqlite3")
    one.put(mixed_items(1200))
    yield one
    one.close()


def test_a_list_longer_than_a_page_is_put_together(index):
    listing = list_calls(index, [], limit=LARGEST_PAGE * 2 + 7)
    assert len(set(listing.items)) == LARGEST_PAGE * 2 + 7
    assert listing.cursor is not None
    rest = list_calls(index, [], limit=5000, cursor=listing.cursor)
    assert (len(rest.items), rest.cursor) == (1200 - LARGEST_PAGE * 2 - 7, None)
    assert set(rest.items).isdisjoint(listing.items)


def test_a_list_says_what_it_holds(index):
    listing = list_calls(index, [make_filter("source", "chat", NOON_MS)], Order.SLOWEST, 10)
    assert listing.sentence == "calls of source chat, slowest first"
    latencies = [one.latency_ms for one in listing.items]
    assert latencies == sorted(latencies, reverse=True)
    assert {one.source for one in listing.items} == {"chat"}


def test_without_a_limit_pages_go_on_to_the_end(index):
    assert [len(page.items) for page in pages(index, [])] == [500, 500, 200]


class OutOfBudget:
    """An index that gives what it read and says that it had to stop, as DynamoDB's does."""

    def __init__(self):
        self.asked = 0

    def query(self, _selection, _cursor=None, _limit=50):
        self.asked += 1
        return Page((), "more", partial=True)


def test_a_partial_page_ends_the_list_and_is_said():
    index = OutOfBudget()
    listing = list_calls(index, [], limit=100)
    assert (listing.partial, listing.cursor, index.asked) == (True, "more", 1)
