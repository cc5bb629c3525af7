from itertools import count

import pytest

from calls import NOON_MS, mixed_items
from calls import item as item_of
from llm_audit.index.selection import InvalidCursorError
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.query.filters import make_filter
from llm_audit.query.pages import list_calls
from llm_audit.query.searching import is_search, search_calls


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    one = SqliteIndex(tmp_path_factory.mktemp("index") / "audit.sqlite3")
    spread = [item_of(5000 + number, started_at_ms=NOON_MS - number**2 * 600_000) for number in range(8)]
    one.put([*mixed_items(200), *spread])
    yield one
    one.close()


def filters(**given):
    return [make_filter(name.replace("_", "-"), value, NOON_MS) for name, value in given.items()]


def walk(index, asked, limit, clock):
    """Follow cursors to the end; give the items and how many pages there were."""
    items, cursor, pages = [], None, 0
    while True:
        page = search_calls(index, asked, limit, cursor, 0.1, clock)
        assert len(page.items) <= limit
        items += page.items
        pages += 1
        cursor = page.cursor
        if cursor is None:
            return items, pages


ASKED = [
    {"text": "question 7"},
    {"text": "Hi"},
    {"text": "nowhere"},
    {"source": "billing", "user": "user-1"},
    {
        "source": "billing",
        "status": "500",
        "since": "2026-11-24T12:00:00.100Z",
        "until": "2026-11-24T12:00:00.300Z",
    },
]


@pytest.mark.parametrize("asked", ASKED, ids=str)
@pytest.mark.parametrize(("limit", "step"), [(7, 0.0), (50, 0.004), (7, 0.03), (7, 1.0)])
def test_pages_of_a_search_hold_what_one_list_holds_however_slow_it_is(index, asked, limit, step):
    clock = count(0.0, step).__next__ if step else (lambda: 0.0)
    wanted = list_calls(index, filters(**asked), limit=10_000).items
    items, _ = walk(index, filters(**asked), limit, clock)
    assert items == list(wanted)


def test_a_search_without_time_left_says_so_and_goes_on(index):
    page = search_calls(index, filters(text="nowhere"), 50, None, 0.1, count(0.0, 1.0).__next__)
    assert (page.items, page.partial) == ((), True)
    assert page.cursor


def test_a_search_in_an_empty_index_ends_at_once(tmp_path):
    empty = SqliteIndex(tmp_path / "audit.sqlite3")
    assert search_calls(empty, filters(text="x"), 50, None, 0.1).cursor is None
    empty.close()


def test_a_cursor_of_another_list_is_refused(index):
    with pytest.raises(InvalidCursorError):
        search_calls(index, filters(text="x"), 50, "nonsense", 0.1)


def test_only_what_no_single_index_answers_is_a_search():
    assert is_search(filters(text="x"))
    assert is_search(filters(source="a", model="m"))
    assert not is_search(filters(source="a", since="1h"))
    assert not is_search([])
