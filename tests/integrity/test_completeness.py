"""Judging calls: every combination of facts is in exactly one class, and the figures add up."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from llm_audit.integrity.completeness import (
    TO_DO,
    Call,
    Figures,
    Finding,
    Indexed,
    Kind,
    Ledgered,
    Rules,
    Seen,
    Stored,
    is_record,
    joined,
    judge,
    needs_reading,
)
from llm_audit.integrity.sequences import Place

KEY = "logs/2026/11/24/a.json"
RULES = Rules(now_ms=1_000_000, grace_ms=1000, bucket="audit")
ROW = Ledgered(KEY, "w-0000000a", 1, 2, "aa", 100)
OBJECT = Stored(KEY, 100, 0, is_named_as_record=True)
ITEM = Indexed(KEY, "project#x", "audit", KEY, "aa", "w-0000000a", 2, "complete", ())
SEEN = Seen("aa", 100, Place("w-0000000a", 1, 2))

CALLS = st.builds(
    Call,
    st.just(KEY),
    st.sampled_from([(), (ROW,), (ROW._replace(sha256="bb"),), (ROW._replace(size=9),)]),
    st.sampled_from([None, OBJECT, OBJECT._replace(modified_ms=999_999)]),
    st.sampled_from(
        [(), (ITEM,), (ITEM._replace(sha256="cc"),), (ITEM, ITEM._replace(partition="project#y"))]
    ),
).filter(is_record)


def verdict(*, ledgered=(), stored=OBJECT, indexed=(), seen=None):
    return judge(Call(KEY, tuple(ledgered), stored, tuple(indexed)), seen, RULES)


@given(st.lists(CALLS), st.sampled_from([None, SEEN, SEEN._replace(sha256="dd"), Seen("aa", 1, problem="x")]))
def test_every_call_is_in_one_class_and_the_figures_add_up(calls, seen):
    figures = Figures()
    for call in calls:
        figures.add(judge(call, seen if call.stored else None, RULES))
    assert figures.accepted == len(calls)
    assert figures.accepted == figures.indexed + figures.under_way + figures.unexplained
    assert figures.recorded <= sum(call.stored is not None for call in calls)
    assert sum(figures.kinds.values()) == figures.unexplained
    assert figures.is_clean == (figures.unexplained == 0)


@given(CALLS, st.booleans())
def test_nothing_is_repaired_whose_object_the_ledger_does_not_vouch_for(call, will_repair):
    seen = SEEN._replace(sha256="dd") if needs_reading(call, will_repair=True) else None
    finding = judge(call, seen, RULES).finding
    if finding is not None and finding.repair:
        assert call.stored is not None
        assert seen is None  # nothing contradicts the object


def test_each_kind_says_what_to_do():
    assert set(TO_DO) == set(Kind)
    finding = Finding(Kind.ITEM_MISSING, KEY, "there is an object, and no item")
    assert finding.as_dict()["toDo"] == TO_DO[Kind.ITEM_MISSING]


def test_the_ledger_settles_which_of_two_digests_is_right():
    other = ITEM._replace(sha256="cc")
    assert needs_reading(Call(KEY, (ROW,), OBJECT, (other,)), will_repair=False)
    right_object = verdict(ledgered=[ROW], indexed=[other], seen=SEEN).finding
    assert (right_object.kind, right_object.repair) == (Kind.ITEM_DIFFERS, True)
    right_item = verdict(ledgered=[ROW], indexed=[ITEM], seen=SEEN._replace(sha256="dd")).finding
    assert (right_item.kind, right_item.repair) == (Kind.OBJECT_CHANGED, False)
    nobody_knows = verdict(indexed=[other], seen=SEEN).finding
    assert (nobody_knows.kind, nobody_knows.repair) == (Kind.DIGESTS_DISAGREE, False)


def test_a_missing_item_is_under_way_only_while_its_object_is_young():
    assert verdict(stored=OBJECT._replace(modified_ms=999_001)).under_way
    assert verdict(stored=OBJECT._replace(modified_ms=2_000_000)).under_way
    assert verdict(stored=OBJECT._replace(modified_ms=999_000)).finding.kind is Kind.ITEM_MISSING


def test_items_that_differ_name_their_attributes():
    item = ITEM._replace(fingerprint=(9, 2), bucket="b")
    rules = replace(RULES, attributes=("model", "stream"))
    finding = judge(Call(KEY, (), OBJECT, (item,)), SEEN._replace(fingerprint=(1, 2)), rules).finding
    assert finding.detail == "the item is another in auditBucket, model"


def test_sources_are_joined_by_key():
    other = "logs/2026/11/24/b.json"
    calls = joined([ROW], [OBJECT, OBJECT._replace(key=other)], [ITEM, ITEM, ITEM._replace(key=other)])
    assert list(calls) == [
        Call(KEY, (ROW,), OBJECT, (ITEM,)),
        Call(other, (), OBJECT._replace(key=other), (ITEM._replace(key=other),)),
    ]


def test_an_object_that_nothing_calls_a_record_is_none():
    stranger = OBJECT._replace(is_named_as_record=False)
    assert not is_record(Call(KEY, (), stranger))
    assert is_record(Call(KEY, (), stranger, (ITEM,)))
