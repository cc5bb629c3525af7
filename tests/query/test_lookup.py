"""One call by its id: by the index where that knows ids, by the objects' names where it does not."""

from __future__ import annotations

import pytest

from calls import NOON_MS, record, request_id
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.ingest.ingest import Notification, ingest
from llm_audit.query.lookup import DAY_MS, find_calls
from llm_audit.record.encoding import encode_record
from llm_audit.store.folder import FolderStore
from llm_audit.store.keys import conflict_key, object_key

V4 = "0d8f7a52-7c1e-4b8f-9d53-3f1d2c4b5a69"


class KnowsNoIds(SqliteIndex):
    """An index that finds items by their keys alone, as DynamoDB's does."""

    def get(self, _request_id):
        return None


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "objects")


@pytest.fixture(params=[SqliteIndex, KnowsNoIds])
def index(request, tmp_path):
    one = request.param(tmp_path / "audit.sqlite3")
    yield one
    one.close()


def keep(store, index, one, key=None):
    key = key or object_key("logs", one.started_at_ms, one.request_id)
    store.put_new(key, encode_record(one))
    if index:
        ingest([Notification(store.bucket, key)], lambda notification: store.stream(notification.key), index)
    return key


def find(index, store, one, days=90):
    return find_calls(index, store, "logs", one, NOON_MS - days * DAY_MS, NOON_MS)


def test_a_call_is_found_with_what_the_index_has_of_it(store, index):
    key = keep(store, index, record(1, request_id=V4))
    (found,) = find(index, store, V4)
    assert (found.key, found.is_as_indexed) == (key, True)
    assert found.indexed_sha256 is not None


def test_what_was_changed_after_indexing_is_told(store, index):
    key = keep(store, index, record(1, request_id=V4))
    path = store.root / key
    path.write_bytes(path.read_bytes().replace(b"Hello", b"Hullo"))
    assert not find(index, store, V4)[0].is_as_indexed


def test_without_an_index_the_object_is_found_and_not_said_to_be_indexed(store):
    keep(store, None, record(1, request_id=V4, started_at_ms=NOON_MS - 80 * DAY_MS))
    assert [one.indexed_sha256 for one in find(None, store, V4)] == [None]
    assert find(None, store, V4, days=79) == []


def test_calls_that_used_one_id_on_one_day_or_another_are_all_found_oldest_first(store, index):
    first = record(1, request_id=V4)
    second = replace_start(first, 5000)
    third = replace_start(first, -3 * DAY_MS)
    keys = [
        keep(store, index, third),
        keep(store, index, first),
        keep(store, index, second, conflict_key("logs", second.started_at_ms, V4, "w-0123abcd", 3, 9)),
    ]
    assert [one.key for one in find(index, store, V4)] == keys
    assert [one.key for one in find(index, store, f"{V4}~w-0123abcd-3-9")] == keys[2:]


def replace_start(one, by_ms):
    return record(1, request_id=one.request_id, started_at_ms=one.started_at_ms + by_ms)


@pytest.mark.parametrize("days", [-1, 0, 1])
def test_the_day_in_a_uuid_of_version_7_is_looked_at_however_long_ago(store, days):
    began = NOON_MS - 700 * DAY_MS
    stamp = f"{began + days * DAY_MS:012x}"
    one = record(1, request_id=f"{stamp[:8]}-{stamp[8:]}-7000-8000-000000000001", started_at_ms=began)
    keep(store, None, one)
    assert len(find(None, store, one.request_id)) == 1


@pytest.mark.parametrize("nothing", ["x", "../../etc/passwd", "", V4, request_id(1), "~", f"{V4}~x"])
def test_what_is_no_id_or_nobodys_finds_nothing(store, index, nothing):
    assert find(index, store, nothing) == []


def test_an_object_that_is_no_record_is_given_as_it_is(store, index):
    key = object_key("logs", NOON_MS, V4)
    store.put_new(key, b"not json")
    (found,) = find(index, store, V4)
    assert (found.data, found.indexed_sha256) == (b"not json", None)
