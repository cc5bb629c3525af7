"""Counting in SQL gives what counting items gives."""

from __future__ import annotations

import pytest

from calls import item, mixed_items
from llm_audit.index.selection import Selection
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.index.tallies import Grouping, tally_items


@pytest.fixture
def index(tmp_path):
    one = SqliteIndex(tmp_path / "audit.sqlite3")
    yield one
    one.close()


@pytest.mark.parametrize("by", Grouping)
def test_counts_in_sql_equal_counts_over_items(index, by):
    items = [*mixed_items(2000), item(5000, source=None, user=None)]
    index.put(items)
    assert index.tallies(Selection(), by).groups == tally_items(items, by)


def test_a_selection_is_counted_alone(index):
    items = mixed_items(2000)
    index.put(items)
    chosen = [one for one in items if one.source == "search" and one.status_code == 500]
    counted = index.tallies(Selection(source="search", status="500"), Grouping.USER)
    assert counted.groups == tally_items(chosen, Grouping.USER)
    assert not counted.partial


def test_an_empty_index_has_no_groups(index):
    assert [index.tallies(Selection(), by).groups for by in Grouping] == [()] * 4
