"""Sorting on disk: the same as in memory, whatever the size of a chunk."""

from __future__ import annotations

import gc
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from llm_audit.integrity import sorting
from llm_audit.integrity.sorting import Sorter


class Row(NamedTuple):
    key: str
    number: int
    word: str | None


ROWS = st.lists(st.builds(Row, st.text("ab/", max_size=3), st.integers(0, 9), st.none() | st.just("é\n")))


@given(ROWS, st.integers(1, 7))
def test_rows_come_sorted_by_their_first_member_and_else_as_they_came(rows, chunk_rows):
    with Sorter(Row._make, chunk_rows=chunk_rows) as sorter:
        found = list(sorter.filled(rows))
    assert found == sorted(rows, key=lambda row: row.key)
    assert all(isinstance(row, Row) for row in found)


def test_many_chunks_are_merged_so_that_few_files_are_open(monkeypatch):
    monkeypatch.setattr(sorting, "MOST_FILES", 3)
    rows = [Row(f"{number * 7919 % 1000:04d}", number, None) for number in range(1000)]
    with Sorter(Row._make, chunk_rows=10) as sorter:
        sorter.filled(rows)
        assert len(sorter._files) <= 4
        assert list(sorter) == sorted(rows, key=lambda row: row.key)


def test_nothing_stays_open_where_not_all_is_read():
    with Sorter(Row._make, chunk_rows=2) as sorter:
        walk = iter(sorter.filled(Row(str(number), number, None) for number in range(9)))
        assert next(walk).key == "0"
    del walk
    gc.collect()  # a file left open would warn here, and warnings are errors
