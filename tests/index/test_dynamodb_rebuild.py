"""Building a table anew: what the objects say, whatever was there, while others write, and on after a kill."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calls import item, mixed_items
from llm_audit.index.dynamodb import DynamoIndex
from llm_audit.index.dynamodb_items import item_of, row_of
from llm_audit.index.dynamodb_rebuild import DynamoRebuild
from llm_audit.index.errors import IndexUnavailableError


class Objects(dict):
    """Items by the key of their object, as reading the objects again would give them."""

    def __init__(self, items):
        super().__init__({one.audit_object_key: one for one in items})
        self.asked = []

    def reread(self, key):
        self.asked.append(key)
        if self.get(key) == "unreadable":
            raise LookupError(key)
        return self.get(key)


@pytest.fixture
def begin(table, tmp_path):
    opened = []

    def start(objects, bucket="audit", prefix="logs", **more):
        rebuild = DynamoRebuild(
            table, tmp_path / "reindex" / "memory.sqlite3", bucket, prefix, objects.reread, **more
        )
        opened.append(rebuild)
        return rebuild

    yield start
    for one in opened:
        one.close()


def contents(dynamodb, table):
    return {item_of(row) for row in dynamodb.rows(table.name)} - {None}


def test_a_rebuilt_table_is_what_a_fresh_one_would_be(dynamodb, table, begin):
    right = mixed_items(120)
    forged = replace(right[0], source="somebody-else")
    moved = replace(right[2], started_at="2026-01-01T00:00:00.000Z")
    changed = replace(right[1], latency_ms=1)
    index = DynamoIndex(table)
    index.put([forged, moved, changed, item(5000), *right[2:50]])
    rebuild = begin(Objects(right))
    rebuild.put(right[:70], "b", 0, [])
    rebuild.put(right[70:], "c", 0, [])
    assert rebuild.finish() == 3
    assert contents(dynamodb, table) == set(right)
    index.close()


def test_what_comes_meanwhile_and_what_is_not_ours_stays(dynamodb, table, begin):
    late = item(3)
    other = replace(item(4), audit_bucket="another-bucket")
    elsewhere = replace(item(5), audit_object_key="logs-old/2026/11/24/x.json")
    unusual = replace(item(6), status_code=299)
    objects = Objects([item(1), late, unusual])
    rebuild = begin(objects)
    rebuild.put([item(1), unusual], "b", 0, [])
    DynamoIndex(table).put([late, other, elsewhere])
    assert rebuild.finish() == 0
    assert contents(dynamodb, table) == {item(1), late, other, elsewhere, unusual}
    assert objects.asked == [late.audit_object_key]
    assert [row["createdAt"]["S"] for row in dynamodb.rows(table.name) if item_of(row) is None] == [
        "status#299"
    ]


def test_items_of_objects_that_could_not_be_read_stay(dynamodb, table, begin):
    items = [item(1), item(2), item(3)]
    DynamoIndex(table).put(items)
    objects = Objects(items[:2])
    objects[item(2).audit_object_key] = "unreadable"
    rebuild = begin(objects)
    rebuild.put([], "b", 0, [item(1).audit_object_key])
    assert rebuild.finish() == 1
    assert contents(dynamodb, table) == {item(1), item(2)}


def test_a_run_that_was_killed_goes_on_and_knows_what_it_wrote(dynamodb, table, begin):
    items = mixed_items(60)
    DynamoIndex(table).put([item(5000)])
    first = begin(Objects(items))
    first.put(items[:30], "k30", 2, ["x"])
    first.close()
    objects = Objects(items)
    second = begin(objects)
    assert second.progress == ("k30", 30, 2, ("x",))
    second.put(items[30:], "k60", 2, ["x"])
    assert second.finish() == 1
    assert objects.asked == [item(5000).audit_object_key]
    assert contents(dynamodb, table) == set(items)
    assert begin(Objects(items)).progress == ("", 0, 0, ())


def test_another_bucket_or_prefix_or_a_wish_begins_anew(begin):
    one = begin(Objects([]))
    one.put([item(1)], "k", 0, [])
    one.close()
    assert begin(Objects([])).progress[0] == "k"
    assert begin(Objects([]), prefix="other").progress[0] == ""
    again = begin(Objects([]))
    again.put([], "k", 0, [])
    assert begin(Objects([]), is_new=True).progress[0] == ""


def test_two_objects_with_the_keys_of_one_row_do_not_stop_a_batch(dynamodb, table, begin):
    twin = replace(item(1), audit_object_key="logs/2026/11/25/copied.json")
    rebuild = begin(Objects([item(1), twin]))
    rebuild.put([item(1), twin], "b", 0, [])
    assert dynamodb.rows(table.name) == [row_of(twin)]


def test_a_memory_that_cannot_be_kept_is_said(table, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(IndexUnavailableError, match="AUDIT_DATA_DIR"):
        DynamoRebuild(table, tmp_path / "file" / "memory.sqlite3", "audit", "logs", Objects([]).reread)
