"""Items in DynamoDB's notation: nothing lost, nothing too large, and markers for what readers would not look for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls import item, mixed_items, request_id
from llm_audit.index.dynamodb_items import (
    ITEM_LIMIT,
    LIKELY_STATUSES,
    MARKER_ID,
    item_of,
    key_of,
    marker_row,
    markers_of,
    row_of,
    size_of,
    status_partitions,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def test_an_item_comes_back_as_it_was():
    for one in mixed_items(200):
        assert item_of(row_of(one)) == one


@given(source=TEXT.filter(lambda text: text not in ("", "-")), user=TEXT, preview=TEXT)
def test_any_text_comes_back_as_it_was(source, user, preview):
    one = replace(item(1), source=source, user=user or None, prompt_preview=preview)
    assert item_of(row_of(one)) == replace(one, user=None if user == "-" else one.user)


def test_numbers_truth_and_lists_have_their_types():
    row = row_of(item(1))
    assert row["latencyMs"] == {"N": "120"}
    assert row["stream"] == {"BOOL": False}
    assert row["finishReasons"] == {"L": [{"S": "stop"}]}
    assert row["createdAt"] == {"S": f"2026-11-24T12:00:00.001Z#{request_id(1)}"}


def test_what_there_is_nothing_of_is_absent():
    row = row_of(replace(item(1), status_code=None, model=None, finish_reasons=(), response_bytes=None))
    assert {"statusCode", "model", "finishReasons", "responseBytes", "expiresAt"}.isdisjoint(row)
    assert row["statusPk"] == {"S": "status#none"}
    assert not any(value in ({"NULL": True}, {"S": ""}) for value in row.values())


def test_an_empty_preview_stays_an_empty_preview():
    assert row_of(item(1, prompt_preview=""))["promptPreview"] == {"S": ""}


@pytest.mark.parametrize(
    ("asked", "answered"),
    [(500_000, 500_000), (500_000, 10), (0, 500_000), (409_000, 2048), (150_000, 300_000)],
)
@pytest.mark.parametrize("letter", ["a", "ä", "🎉"])
def test_an_item_that_is_too_large_loses_the_ends_of_its_longer_preview_first(asked, answered, letter):
    one = replace(item(1), prompt_preview=letter * asked, response_preview=letter * answered)
    row = row_of(one)
    assert size_of(row) <= ITEM_LIMIT
    back = item_of(row)
    assert replace(back, prompt_preview=None, response_preview=None) == replace(
        one, prompt_preview=None, response_preview=None
    )
    kept = [len(back.prompt_preview), len(back.response_preview)]
    assert one.prompt_preview.startswith(back.prompt_preview)
    assert one.response_preview.startswith(back.response_preview)
    if sum(kept) < asked + answered:
        assert size_of(row) > ITEM_LIMIT - 2048
        longest = max(kept)
        assert all(
            mine in (had, longest, longest - 1) for mine, had in zip(kept, (asked, answered), strict=True)
        )
    else:
        assert len(letter.encode()) * (asked + answered) < ITEM_LIMIT


def test_a_row_that_is_none_of_ours_is_no_item():
    assert item_of(marker_row("status#299")) is None
    assert item_of({"id": {"S": "project#a"}, "createdAt": {"N": "1"}}) is None
    assert item_of({}) is None


def test_the_primary_key_is_the_rows_own():
    row = row_of(item(1))
    assert key_of(item(1)) == {"id": row["id"], "createdAt": row["createdAt"]}


def test_usual_items_need_no_marker_and_unusual_ones_say_where_they_are():
    assert {marker for one in mixed_items(100) for marker in markers_of(one)} == set()
    assert markers_of(replace(item(1), status_code=299)) == ("status#299",)
    assert markers_of(replace(item(1), status_shard=0)) == ("status#200", "shards#00001")
    assert markers_of(replace(item(1), status_code=299, status_shard=5)) == ("status#299", "shards#00008")


@given(status=st.one_of(st.none(), st.integers(0, 999)), shard=st.one_of(st.none(), st.integers(0, 70)))
def test_every_item_lies_where_its_markers_send_a_reader(status, shard):
    one = replace(item(1), status_code=status, status_shard=shard)
    mine = row_of(one)["statusPk"]["S"]
    assert mine in status_partitions(markers_of(one))
    assert mine in status_partitions(markers_of(one), "none" if status is None else str(status))


def test_shards_of_every_count_ever_used_are_looked_at_and_the_unsharded_key_too():
    asked = status_partitions(["shards#00002", "shards#00008", "status#299"], "500")
    assert asked == ("status#500", *(f"status#500#{shard}" for shard in range(8)))
    everywhere = status_partitions(["shards#00002", "status#299", "status#200"])
    assert set(everywhere) == {
        *(f"status#{one}" for one in (*LIKELY_STATUSES, "299")),
        *("status#299#0", "status#299#1", "status#200#0", "status#200#1"),
    }
    assert MARKER_ID.partition("#")[0] not in ("project", "user", "status")
