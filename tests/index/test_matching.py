"""Matching item by item is what the index finds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calls import item, mixed_items
from llm_audit.index.matching import matches
from llm_audit.index.selection import Comparison, Condition, Order, Selection
from llm_audit.index.sqlite import SqliteIndex

MODEL = Condition(("model",), Comparison.EQUALS, "small")
TEXT = Condition(("promptPreview", "responsePreview"), Comparison.CONTAINS, "QUESTION 1")
FIRST_CHUNK = Condition(("timeToFirstChunkMs",), Comparison.BELOW, 300)


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(source="chat", min_latency_ms=9000),
        Selection(user="user-1", status="none", since="2026-11-24T12:00:00.100Z"),
        Selection(until="2026-11-24T12:00:00.300Z", conditions=(MODEL, TEXT)),
        Selection(conditions=(FIRST_CHUNK,)),
    ],
    ids=str,
)
def test_what_matches_is_what_the_index_finds(tmp_path, selection, order):
    items = mixed_items(500)
    index = SqliteIndex(tmp_path / "audit.sqlite3")
    index.put(items)
    asked = replace(selection, order=order)
    found = set(index.query(asked, limit=1000).items)
    index.close()
    assert found == {one for one in items if matches(one, asked)}
    assert found


def test_letters_beyond_ascii_are_compared_as_they_are():
    selection = Selection(conditions=(Condition(("promptPreview",), Comparison.CONTAINS, "ÄB"),))
    assert matches(item(1, prompt_preview="xÄb"), selection)
    assert not matches(item(1, prompt_preview="xäb"), selection)
