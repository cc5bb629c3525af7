"""What is DynamoDB's own: numeric latencies, shards, unusual statuses, budgets, and answers that say they are partial."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calls import item, mixed_items, request_id
from llm_audit.index.dynamodb import DynamoIndex
from llm_audit.index.errors import IndexMissingError
from llm_audit.index.schema import keys, shard_of
from llm_audit.index.selection import Comparison, Condition, Order, Selection
from llm_audit.index.tallies import Grouping


@pytest.fixture
def index(table):
    one = DynamoIndex(table)
    yield one
    one.close()


def sharded(items, shards):
    return [replace(one, status_shard=shard_of(one.stem, shards)) for one in items]


def walked(index, selection, size=50):
    """Every page of a selection, whether or not pages were partial; and whether any was."""
    items, cursor, was_partial = [], None, False
    while True:
        page = index.query(selection, cursor, size)
        items += page.items
        was_partial = was_partial or page.partial
        cursor = page.cursor
        if cursor is None:
            return items, was_partial


def newest_first(items):
    return sorted(items, key=lambda one: keys(one)["createdAt"], reverse=True)


def test_latencies_come_back_in_numeric_order(dynamodb, table, index):
    index.put([item(n, latency_ms=ms) for n, ms in enumerate((5, 1000, 99, 12_000, 0))])
    found = index.query(Selection(source="billing", order=Order.SLOWEST)).items
    assert [one.latency_ms for one in found] == [12_000, 1000, 99, 5, 0]
    answer = dynamodb.boto3().query(
        TableName=table.name,
        IndexName="GSI_ProjectLatency",
        KeyConditionExpression="latencyPk = :p AND latencySk BETWEEN :a AND :b",
        ExpressionAttributeValues={
            ":p": {"S": "project#billing"},
            ":a": {"S": "latency#0000000005"},
            ":b": {"S": "latency#0000001001"},
        },
    )
    assert [row["latencyMs"]["N"] for row in answer["Items"]] == ["5", "99", "1000"]


@pytest.mark.parametrize("source", ["日本語 🎉", "a\u202eb\u0000", "ß" * 256, 'it\'s "quoted" \\ & <b>'])
def test_a_source_or_user_of_any_unicode_is_found(index, source):
    one = replace(item(1), source=source, user=source)
    index.put([one, item(2)])
    assert index.query(Selection(source=source)).items == (one,)
    assert index.query(Selection(user=source)).items == (one,)
    assert index.item_at(source, one.started_at, one.stem) == one


def test_items_of_every_shard_count_ever_used_are_found_together(index):
    items = mixed_items(90)
    mixed = [*items[:30], *sharded(items[30:60], 3), *sharded(items[60:], 8)]
    index.put(mixed)
    for status in ("200", "429", "none"):
        wanted = newest_first(one for one in mixed if str(one.status_code or "none") == status)
        assert walked(index, Selection(status=status), 11) == (wanted, False)
    assert walked(index, Selection(), 30) == (newest_first(mixed), False)
    by_user = Selection(user="user-1", status="200")
    assert walked(index, by_user)[0] == newest_first(
        one for one in mixed if one.user == "user-1" and one.status_code == 200
    )


def test_a_reader_that_was_there_before_sees_an_unusual_status_too(index, table):
    reader = DynamoIndex(dynamodb_reader_table(table))
    assert reader.query(Selection()).items == ()
    index.put([replace(item(1), status_code=299), replace(item(2), status_code=600)])
    assert [one.status_code for one in reader.query(Selection()).items] == [600, 299]
    assert list(reader.items(since="2026-11-24T00:00:00.000Z")) != []
    reader.close()


def dynamodb_reader_table(table):
    """The same table through the same client: another reader has memories of its own."""
    return type(table)(table.name, table._client)


def test_a_page_that_used_up_its_budget_says_so_and_goes_on_without_a_gap(table):
    small = DynamoIndex(table, budget=40)
    items = mixed_items(200)
    small.put(items)
    rare = Condition(("promptPreview",), Comparison.EQUALS, "question 7")
    for chosen in (Selection(), Selection(source="chat"), Selection(status="200")):
        selection = replace(chosen, conditions=(rare,))
        wanted = newest_first(
            one
            for one in items
            if one.prompt_preview == "question 7"
            and chosen.source in (None, one.source)
            and chosen.status in (None, str(one.status_code))
        )
        assert walked(small, selection) == (wanted, True)
    slow = replace(Selection(source="chat"), order=Order.SLOWEST, conditions=(rare,))
    found, was_partial = walked(small, slow)
    assert was_partial
    assert [one.latency_ms for one in found] == sorted((one.latency_ms for one in found), reverse=True)
    assert len(found) == sum(one.prompt_preview == "question 7" and one.source == "chat" for one in items)
    small.close()


def test_a_list_that_needs_no_search_is_never_partial(table):
    small = DynamoIndex(table, budget=40)
    items = mixed_items(120)
    small.put(items)
    assert walked(small, Selection(user="user-1"), 15) == (
        newest_first(one for one in items if one.user == "user-1"),
        False,
    )
    small.close()


def test_counts_and_sorted_lists_beyond_the_budget_are_partial_and_of_the_newest(table):
    small = DynamoIndex(table, budget=30)
    items = mixed_items(100)
    small.put(items)
    counted = small.tallies(Selection(source="chat"), Grouping.ALL)
    assert counted.partial
    newest = newest_first(one for one in items if one.source == "chat")[:30]
    assert (counted.groups[0].calls, counted.groups[0].latency_ms.total()) == (30, 30)
    assert counted.groups[0].input_tokens == sum(one.input_tokens or 0 for one in newest)
    slowest = small.query(replace(Selection(user="user-1"), order=Order.SLOWEST), limit=3)
    assert not slowest.partial
    assert small.query(Selection(order=Order.SLOWEST), limit=3).partial
    small.close()


def test_items_of_400_kb_come_in_pages_like_others(index):
    large = [replace(item(n), prompt_preview=f"{n}" + "x" * 390_000) for n in range(8)]
    index.put(large)
    assert walked(index, Selection(source="billing"), 50) == (newest_first(large), False)
    assert walked(index, Selection(), 3) == (newest_first(large), False)


def test_a_call_that_took_long_is_told_when_it_comes(index):
    index.put([item(600_000)])
    position = index.arrivals().position
    index.put([item(1)])
    found = index.arrivals(position)
    assert [one.request_id for one in found.items] == [request_id(1)]


def test_a_position_of_a_reader_that_is_gone_begins_at_its_time(index, table):
    index.put([item(5)])
    position = index.arrivals().position
    index.put([item(9)])
    other = DynamoIndex(dynamodb_reader_table(table))
    assert [one.request_id for one in other.arrivals(position).items] == [request_id(9)]
    other.close()


def test_without_its_table_every_question_says_what_to_do(dynamodb):
    index = DynamoIndex(dynamodb.table("NoSuchTable"))
    for ask in (
        lambda: index.query(Selection()),
        lambda: index.query(Selection(source="a")),
        index.arrivals,
        lambda: index.item_at("a", "t", "s"),
        lambda: list(index.items()),
    ):
        with pytest.raises(IndexMissingError, match="NoSuchTable"):
            ask()
    index.close()


def test_rows_that_are_no_items_are_passed_over(index, table):
    index.put([item(1)])
    table.put(
        {
            "id": {"S": "project#billing"},
            "createdAt": {"S": "note"},
            "statusPk": {"S": "status#200"},
            "statusSk": {"S": "z"},
        }
    )
    assert index.query(Selection()).items == (item(1),)
    assert index.query(Selection(source="billing")).items == (item(1),)
    assert list(index.items()) == [item(1)]
