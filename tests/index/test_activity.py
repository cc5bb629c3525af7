from hypothesis import given
from hypothesis import strategies as st

from calls import NOON_MS, item
from llm_audit.index.activity import activity_of_items, rounded
from llm_audit.record.schema import Outcome


@given(st.integers(0, 10**10 - 1))
def test_a_rounded_measure_is_at_most_one_percent_low_and_exact_below_a_second(milliseconds):
    assert 0.99 * milliseconds <= rounded(milliseconds) <= milliseconds
    assert milliseconds >= 1000 or rounded(milliseconds) == milliseconds


def test_calls_are_counted_in_slots_by_source_and_model_and_by_user():
    items = [
        item(1),
        item(2, outcome=Outcome.INTERRUPTED, time_to_first_chunk_ms=None),
        item(3, started_at_ms=NOON_MS + 60_000, user="bert", latency_ms=12_345),
    ]
    activity = activity_of_items(items, 16)
    first, second = activity.slots["2026-11-24T12:00"], activity.slots["2026-11-24T12:01"]
    assert (first.calls, first.errors, first.input_tokens, first.output_tokens) == (2, 1, 24, 60)
    assert (first.latency_ms, first.first_chunk_ms) == ({120: 2}, {40: 1})
    assert second.latency_ms == {12_300: 1}
    assert activity.models["billing", "demo-1"].calls == 3
    assert {user: share.calls for user, share in activity.users.items()} == {"ada": 2, "bert": 1}
