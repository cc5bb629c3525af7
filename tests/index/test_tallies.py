"""Tallies over items, the way an index without counting does it."""

from __future__ import annotations

from collections import Counter

import pytest

from calls import item
from llm_audit.index.tallies import Grouping, is_error, tally_items
from llm_audit.record.schema import ModelNames, Outcome, Usage


@pytest.mark.parametrize(
    ("status", "outcome", "expected"),
    [
        (200, Outcome.COMPLETE, False),
        (399, Outcome.COMPLETE, False),
        (400, Outcome.COMPLETE, True),
        (None, Outcome.COMPLETE, True),
        (200, Outcome.CLIENT_DISCONNECTED, True),
    ],
)
def test_an_error_is_a_call_that_did_not_end_complete_under_400(status, outcome, expected):
    assert is_error(item(1, status_code=status, outcome=outcome)) is expected


def test_calls_are_counted_by_group_and_the_largest_comes_first():
    calls = [
        item(1, user="ada", usage=Usage(1, 2, 3), latency_ms=10, time_to_first_chunk_ms=None),
        item(2, user="bob", usage=Usage(10, None, 30), latency_ms=20, time_to_first_chunk_ms=5),
        item(3, user="bob", status_code=500, usage=Usage(), latency_ms=20, time_to_first_chunk_ms=6),
    ]
    bob, ada = tally_items(calls, Grouping.USER)
    assert (bob.group, bob.calls, bob.errors, bob.input_tokens, bob.total_tokens) == ("bob", 2, 1, 10, 30)
    assert (bob.latency_ms, bob.first_chunk_ms) == (Counter({20: 2}), Counter({5: 1, 6: 1}))
    assert (ada.group, ada.output_tokens, ada.first_chunk_ms) == ("ada", 2, Counter())


def test_calls_without_a_name_form_the_last_group_of_their_size():
    calls = [item(1, model=ModelNames()), item(2, model=ModelNames("z"))]
    assert [tally.group for tally in tally_items(calls, Grouping.MODEL)] == ["z", None]
    assert [tally.calls for tally in tally_items(calls, Grouping.ALL)] == [2]
