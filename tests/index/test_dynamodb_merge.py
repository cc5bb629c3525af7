"""Merging: order and completeness whatever each read gives, and a place to go on that leaves no gap."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from calls import mixed_items
from llm_audit.index.dynamodb_items import row_of
from llm_audit.index.dynamodb_merge import Merge
from llm_audit.index.dynamodb_plans import Walk
from llm_audit.index.schema import keys
from llm_audit.index.selection import Comparison, Condition

ITEMS = sorted(mixed_items(40), key=lambda one: keys(one)["createdAt"], reverse=True)
PARTITIONS = ("status#200", "status#429", "status#500", "status#none", "status#299")
MODEL = Condition(("model",), Comparison.EQUALS, "small")


def answer(stream, walk, size):
    """Answer as DynamoDB does: some rows of a partition after a place, and the key of the last."""
    rows = [row_of(one) for one in ITEMS if keys(one)["statusPk"] == stream.partition]
    if stream.start is not None:
        rows = [row for row in rows if row["statusSk"]["S"] < stream.start["statusSk"]["S"]]
    part = rows[:size]
    more = {"LastEvaluatedKey": part[-1]} if len(part) == size else {}
    return {"Items": part, **more}


@given(sizes=st.lists(st.integers(1, 7), min_size=1, max_size=30), is_filtered=st.booleans())
def test_whatever_each_read_gives_the_list_is_whole_and_in_order(sizes, is_filtered):
    walk = Walk("statusPk", None, "statusSk", None, None, (MODEL,) if is_filtered else ())
    merge, found, turn = Merge(walk, PARTITIONS), [], 0
    while True:
        while (one := merge.take()) is not None:
            found.append(one)
        blocking = merge.blocking()
        if not blocking:
            break
        for stream in blocking:
            merge.feed(stream, answer(stream, walk, sizes[turn % len(sizes)]))
            turn += 1
    assert found == [one for one in ITEMS if not is_filtered or one.model == "small"]


@given(rounds=st.integers(1, 12), size=st.integers(1, 5))
def test_a_list_that_stops_anywhere_goes_on_without_gap_or_repetition(rounds, size):
    walk = Walk("statusPk", None, "statusSk", None, None, (MODEL,))
    merge, found = Merge(walk, PARTITIONS), []
    for _ in range(rounds):
        for stream in merge.blocking():
            merge.feed(stream, answer(stream, walk, size))
        while (one := merge.take()) is not None:
            found.append(one)
    place = merge.resume_at()
    rest = [] if place is None else [one for one in ITEMS if keys(one)["createdAt"] < place]
    assert found + [one for one in rest if one.model == "small"] == [
        one for one in ITEMS if one.model == "small"
    ]


def test_an_empty_range_asks_nothing():
    merge = Merge(Walk("statusPk", None, "statusSk", "b", "a", ()), PARTITIONS)
    assert (merge.blocking(), merge.take(), merge.resume_at()) == ([], None, None)


def test_the_end_of_a_range_is_not_in_it():
    last = ITEMS[0]
    end = keys(last)["statusSk"]
    walk = Walk("statusPk", None, "statusSk", "2026", end, ())
    merge = Merge(walk, (keys(last)["statusPk"],))
    merge.feed(
        merge.streams[0],
        {"Items": [row_of(last), row_of(replace(last, started_at="2026-11-01T00:00:00.000Z"))]},
    )
    assert merge.take().started_at == "2026-11-01T00:00:00.000Z"
    assert merge.take() is None
