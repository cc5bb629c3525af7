"""What every store promises: the same tests over a folder and over S3."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from llm_audit.store.objects import ObjectEntry, ObjectMissingError, ObjectRefusedError, Put

KEY = "logs/2026/11/24/0192b3c4-0000-7000-8000-000000000001.json"


def test_what_was_put_is_read_back_whole_by_head_and_in_pieces(store):
    data = bytes(range(256)) * 10_000

    assert store.put_new(KEY, data) is Put.CREATED

    assert store.get(KEY) == data
    assert store.get_head(KEY, 1000) == data[:1000]
    assert store.get_head(KEY, len(data) + 5) == data
    pieces = list(store.stream(KEY))
    assert b"".join(pieces) == data
    assert len(pieces) > 1


def test_a_name_that_is_taken_keeps_its_first_object(store):
    store.put_new(KEY, b"first")

    assert store.put_new(KEY, b"second") is Put.EXISTS

    assert store.get(KEY) == b"first"


def test_one_of_twelve_racing_puts_wins_and_its_bytes_stay(store):
    with ThreadPoolExecutor(12) as threads:
        puts = list(threads.map(lambda n: store.put_new(KEY, b"%d" % n), range(12)))

    assert puts.count(Put.CREATED) == 1
    assert puts.count(Put.EXISTS) == 11
    assert store.get(KEY) == b"%d" % puts.index(Put.CREATED)


def test_an_empty_object_can_be_stored_and_read(store):
    store.put_new(KEY, b"")

    assert store.get(KEY) == b""
    assert store.get_head(KEY, 100) == b""
    assert b"".join(store.stream(KEY)) == b""


def test_what_is_not_there_is_missing(store):
    store.put_new(KEY, b"something")
    missing = KEY.replace("0001", "0002")

    with pytest.raises(ObjectMissingError):
        store.get(missing)
    with pytest.raises(ObjectMissingError):
        store.get_head(missing, 10)
    with pytest.raises(ObjectMissingError):
        list(store.stream(missing))


def test_a_listing_is_sorted_and_keeps_to_its_folder(store):
    keys = [
        "logs/2026/11/24/a.json",
        "logs/2026/11/24/b~w.json",
        "logs/2026/11/25/c.json",
        "logs2/d.json",
        "e.json",
    ]
    for size, key in enumerate(reversed(keys)):
        store.put_new(key, b"x" * size)

    listed = list(store.list("logs"))

    assert listed == [ObjectEntry(key, 4 - keys.index(key)) for key in keys[:3]]
    assert list(store.list("logs/2026/11/24/")) == listed[:2]
    assert [entry.key for entry in store.list()] == sorted(keys)
    assert list(store.list("logs/2027")) == []


def test_a_listing_says_when_each_object_was_stored(store):
    began_ms = time.time_ns() // 1_000_000
    store.put_new("logs/a.json", b"x")

    (entry,) = store.list()

    assert began_ms - 2000 <= entry.modified_ms <= time.time_ns() // 1_000_000 + 1000


@pytest.mark.parametrize(
    "key", ["../../x", "logs/../x", "/etc/x", "logs//x", ".tmp/x", "", "a\0b", "a\\b", "x" * 1025]
)
def test_a_key_that_could_leave_its_place_is_refused(store, key):
    with pytest.raises(ObjectRefusedError, match="cannot name an object"):
        store.put_new(key, b"x")


def test_a_probe_of_a_working_store_says_nothing_and_leaves_nothing(store):
    store.probe()

    assert list(store.list()) == []


def test_the_bucket_names_the_store(store):
    assert store.bucket.startswith(("file:///", "audit-"))


def test_a_listing_goes_on_after_any_key_of_another(store):
    keys = [
        "logs/2026/11/23/a.json",
        "logs/2026/11/24/a b.json",
        "logs/2026/11/24/a.json",
        "logs/2026/11/24/a~w.json",
    ]
    for key in (*keys, "other/x.json", "logs/2026/12/01/a.json"):
        store.put_new(key, b"x")
    whole = [entry.key for entry in store.list("logs")]
    for number, key in enumerate(whole):
        assert [entry.key for entry in store.list("logs", after=key)] == whole[number + 1 :]
    assert [entry.key for entry in store.list("logs", after="logs/2026/11/24/a")] == whole[1:]
    assert [entry.key for entry in store.list("logs", after="logs/2026/11/2")] == whole
    assert list(store.list("logs", after="zebra")) == []
