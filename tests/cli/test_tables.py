"""Tables fit the terminal, and never at the cost of a request id."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from calls import item, request_id
from llm_audit.cli.tables import calls_table, status_of, tokens_of
from llm_audit.record.schema import Outcome, Usage


def lines(items, width):
    out = io.StringIO()
    Console(file=out, width=width).print(calls_table(items, width))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 240])
def test_a_table_is_as_wide_as_the_terminal_and_shows_whole_ids(width):
    items = [item(1, prompt_preview="a long question " * 40), item(2, prompt_preview="日本語" * 90)]
    shown = lines(items, width)
    assert all(cell_len(line) <= width for line in shown)
    assert [request_id(number) in "".join(shown) for number in (1, 2)] == [True, True]


def test_a_wide_terminal_shows_every_column_and_a_narrow_one_the_needful():
    assert "first chunk" in lines([item(1)], 160)[0]
    narrow = lines([item(1)], 100)[0]
    assert "prompt" not in narrow
    for name in ("time (UTC)", "source", "user", "status", "latency", "request id"):
        assert name in narrow


def test_a_short_prompt_is_shown_whole():
    assert "user: Hi " in lines([item(1)], 160)[2]


def test_a_status_says_what_went_otherwise():
    assert status_of(item(1)) == "200"
    assert status_of(item(1, outcome=Outcome.CLIENT_DISCONNECTED)) == "200 client_disconnected"
    assert status_of(item(1, status_code=None, outcome=Outcome.INTERRUPTED)) == "none interrupted"


def test_tokens_are_shown_where_any_were_counted():
    assert tokens_of(item(1, usage=Usage(1200, 30))) == "1,200→30"
    assert tokens_of(item(1, usage=Usage(7))) == "7→"
    assert tokens_of(item(1, usage=Usage())) == ""
