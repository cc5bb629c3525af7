"""Reindexing: the objects alone decide what the index holds."""

from __future__ import annotations

import pytest

from calls import item, key_of, record, request_id
from llm_audit.index.selection import Selection
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.index.sqlite_rebuild import Rebuild
from llm_audit.ingest.ingest import Notification
from llm_audit.ingest.reindex import reindex
from llm_audit.record.encoding import encode_record


@pytest.fixture
def index(tmp_path):
    one = SqliteIndex(tmp_path / "audit.sqlite3")
    yield one
    one.close()


def objects(count):
    """Objects by key, as a folder or bucket holds them."""
    return {key_of(record(number)): encode_record(record(number)) for number in range(count)}


def run(index, stored, on_progress=lambda _: None):
    def open_object(notification):
        return [stored[notification.key]]

    def list_after(after):
        return [Notification("audit", key) for key in sorted(stored) if key > after]

    return reindex(list_after, open_object, Rebuild(index, "audit/logs"), on_progress)


def ids(index):
    return {one.request_id for one in index.query(Selection(), limit=5000).items}


def test_a_thousand_objects_become_a_thousand_items_and_progress_is_told(index):
    told = []
    result = run(index, objects(1001), told.append)
    assert (result.written, result.skipped, result.removed, result.unread) == (1001, 0, 0, ())
    assert told == [500, 1000, 1001]
    assert ids(index) == {request_id(number) for number in range(1001)}


def test_items_without_object_go_and_other_files_are_counted(index):
    index.put([item(7000)])
    result = run(index, {**objects(2), "logs/notes.txt": b"hello"})
    assert (result.written, result.skipped, result.removed) == (2, 1, 1)
    assert ids(index) == {request_id(0), request_id(1)}


def test_an_object_that_cannot_be_read_keeps_its_item_and_is_named(index):
    index.put([item(1)])
    stored = {**objects(1), key_of(record(1)): None}
    result = run(index, stored)
    assert result.unread == (key_of(record(1)),)
    assert ids(index) == {request_id(0), request_id(1)}


def test_reindexing_twice_is_the_same_as_once(index):
    run(index, objects(30))
    before = index.query(Selection(), limit=100)
    assert run(index, objects(30)).removed == 0
    assert index.query(Selection(), limit=100) == before


def test_a_run_that_was_cut_off_goes_on_where_it_was(index):
    index.put([item(7000)])
    stored = objects(1201)
    opened = []

    def open_object(notification):
        opened.append(notification.key)
        return [stored[notification.key]]

    def list_after(after, fails_at=None):
        for key in sorted(stored):
            if key == fails_at:
                raise ConnectionError(key)
            if key > after:
                yield Notification("audit", key)

    with pytest.raises(ConnectionError):
        reindex(
            lambda after: list_after(after, key_of(record(1100))), open_object, Rebuild(index, "audit/logs")
        )
    half = len(opened)
    assert 1000 <= half < 1201
    told = []
    result = reindex(list_after, open_object, Rebuild(index, "audit/logs"), told.append)
    assert len(opened) == half + 201
    assert (result.written, result.removed) == (1201, 1)
    assert told == [1201]
    assert ids(index) == {request_id(number) for number in range(1201)}


def test_from_another_place_or_told_so_it_begins_anew(index):
    stored = objects(3)
    first = Rebuild(index, "audit/logs")
    first.put([item(0)], key_of(record(0)), 0, [])
    assert Rebuild(index, "audit/logs").progress[:2] == (key_of(record(0)), 1)
    assert Rebuild(index, "other/logs").progress[:2] == ("", 0)
    assert Rebuild(index, "other/logs", is_new=True).progress[:2] == ("", 0)
    assert run(index, stored).written == 3
