"""Writing into DynamoDB: the same rows whatever comes, in whatever order, how often."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calls import item, key_of, mixed_items, record
from llm_audit.index.dynamodb_items import item_of, row_of
from llm_audit.index.dynamodb_writer import DynamoWriter
from llm_audit.index.errors import IndexMissingError
from llm_audit.index.schema import item_from_document
from llm_audit.record.encoding import document


@pytest.fixture
def writer(table):
    return DynamoWriter(table)


def test_events_twice_reversed_and_one_by_one_leave_the_same_rows(dynamodb, table, writer):
    items = mixed_items(60)
    writer.put(items)
    once = dynamodb.rows(table.name)
    writer.put(items[::-1])
    for one in items[:10]:
        DynamoWriter(table).put([one])
    assert (
        dynamodb.rows(table.name)
        == once
        == sorted(map(row_of, items), key=lambda row: (row["id"]["S"], row["createdAt"]["S"]))
    )


def test_nothing_is_written_for_nothing(dynamodb, table, writer):
    writer.put([])
    assert dynamodb.rows(table.name) == []


@pytest.mark.parametrize(
    "one",
    [
        replace(item(1), source="Ünïcode 🎉 \u202e نص \x00 日本語", user="a\nb\t'\"\\ \U0010ffff"),
        replace(item(1), source="ß" * 256, user="🎉" * 256),
        replace(item(1), prompt_preview="🎉" * 300_000, response_preview="x" * 500_000),
        replace(item(1), prompt_preview="", response_preview=""),
        replace(item(1), source=None, user=None, status_code=None, finish_reasons=()),
        replace(item(1), finish_reasons=("🎉" * 256,) * 64, prompt_preview="p" * 500_000),
    ],
    ids=["unicode", "longest names", "400 KB", "empty previews", "nobody", "many reasons"],
)
def test_hard_items_are_taken_and_come_back_as_their_rows(table, writer, one):
    writer.put([one])
    row = table.get({name: row_of(one)[name] for name in ("id", "createdAt")})
    assert row == row_of(one)
    assert item_of(row).audit_object_sha256 == one.audit_object_sha256


def test_an_object_key_with_spaces_plus_and_the_longest_name_is_taken(table, writer):
    for name in ("a b+c é 100%", "n" * 507):
        one = record(1, request_id=name)
        made = item_from_document(document(one), "audit", key_of(one), "0" * 64)
        writer.put([made])
        row = table.get({key: row_of(made)[key] for key in ("id", "createdAt")})
        assert item_of(row) == made
        assert row["auditObjectKey"] == {"S": f"logs/2026/11/24/{name}.json"}


def test_markers_are_there_before_the_first_unusual_item_and_only_once(dynamodb, table, writer):
    writer.put([replace(item(1), status_code=299), replace(item(2), status_code=299, status_shard=3)])
    ids = [(row["id"]["S"], row["createdAt"]["S"]) for row in dynamodb.rows(table.name)]
    assert ids[:2] == [("index#partitions", "shards#00004"), ("index#partitions", "status#299")]
    assert len(ids) == 4


def test_without_its_table_a_write_says_what_to_do(dynamodb):
    table = dynamodb.table("NoSuchTable")
    with pytest.raises(IndexMissingError, match=r"NoSuchTable.*AUDIT_INDEX"):
        DynamoWriter(table).put([item(1), item(2)])
    table.close()


def test_a_batch_gives_back_what_it_did_not_come_to(table):
    assert table.put_batch([row_of(one) for one in mixed_items(25)]) == []
    assert table.get({name: row_of(item(999))[name] for name in ("id", "createdAt")}) is None
