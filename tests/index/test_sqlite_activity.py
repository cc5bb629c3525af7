import contextlib
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls import item
from llm_audit.index.activity import rounded
from llm_audit.index.selection import Selection
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.index.sqlite_activity import _rounded


@given(st.integers(0, 10**10 - 1))
def test_sql_rounds_as_the_rest_does(milliseconds):
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        (value,) = connection.execute(f"SELECT {_rounded('x')} FROM (SELECT {milliseconds} AS x)").fetchone()
    assert value == rounded(milliseconds)


@pytest.mark.parametrize("selection", [Selection(), Selection(source="billing")], ids=["all", "one source"])
def test_a_count_over_time_reads_an_index_and_no_rows(tmp_path, selection):
    index = SqliteIndex(tmp_path / "audit.sqlite3")
    index.put([item(number) for number in range(20)])
    read = []
    index._connection.set_trace_callback(read.append)
    index.activity(selection, 13)
    counts = [statement for statement in read if "GROUP BY" in statement]
    assert len(counts) == 5
    for statement in counts:
        plan = " ".join(row[3] for row in index._connection.execute(f"EXPLAIN QUERY PLAN {statement}"))
        assert "INDEX" in plan
    index.close()
