"""Rebuilding in place: the result is what a fresh index would hold, and nobody has to stop for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calls import item, mixed_items, request_id
from llm_audit.index.selection import Selection
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.index.sqlite_rebuild import Rebuild

PLACE = "audit/logs"


@pytest.fixture
def index(tmp_path):
    one = SqliteIndex(tmp_path / "audit.sqlite3")
    yield one
    one.close()


def contents(index):
    return set(index.query(Selection(), limit=10_000).items)


def test_a_rebuilt_index_is_what_a_fresh_one_would_be(index):
    right = mixed_items(100)
    forged = replace(right[0], source="somebody-else")
    changed = replace(right[1], latency_ms=1)
    gone = item(5000)
    index.put([forged, changed, gone, *right[2:50]])
    rebuild = Rebuild(index, PLACE)
    rebuild.put(right[:60], "b", 0, [])
    rebuild.put(right[60:], "c", 0, [])
    assert rebuild.finish() == 2
    assert contents(index) == set(right)


def test_what_comes_meanwhile_stays(index):
    index.put([item(1), item(2)])
    rebuild = Rebuild(index, PLACE)
    index.put([item(3)])
    rebuild.put([item(1)], "b", 0, [])
    index.put([item(4)])
    assert rebuild.finish() == 1
    assert {one.request_id for one in contents(index)} == {request_id(n) for n in (1, 3, 4)}


def test_items_of_objects_that_could_not_be_read_stay(index):
    index.put([item(1), item(2)])
    rebuild = Rebuild(index, PLACE)
    rebuild.put([], "b", 0, [item(2).audit_object_key])
    assert rebuild.finish() == 1
    assert contents(index) == {item(2)}


def test_rebuilding_may_be_given_up_and_begun_again(index):
    index.put([item(1), item(2)])
    Rebuild(index, PLACE).put([item(1), item(2)], "b", 0, [])
    assert Rebuild(index, PLACE, is_new=True).finish() == 2


def test_what_was_written_before_a_kill_counts_when_it_goes_on(index):
    index.put([item(1), item(2), item(3)])
    Rebuild(index, PLACE).put([item(1)], "b", 4, ["x"])
    again = Rebuild(index, PLACE)
    assert again.progress == ("b", 1, 4, ("x",))
    again.put([item(2)], "c", 4, ["x"])
    assert again.finish() == 1
    assert contents(index) == {item(1), item(2)}
    assert Rebuild(index, PLACE).progress == ("", 0, 0, ())


def test_an_index_that_was_rebuilt_keeps_no_trace_of_it(index):
    Rebuild(index, PLACE).finish()
    (tables,) = index._connection.execute(
        "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'rebuild%'"
    ).fetchone()
    assert tables == 0
