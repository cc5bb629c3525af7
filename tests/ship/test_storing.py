from __future__ import annotations

import hashlib
import json
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from faults.scripted_store import LOST_ANSWER, OK, scripted_store
from llm_audit.ship.build import build
from llm_audit.ship.storing import store_record, writer_in
from llm_audit.store.folder import FolderStore
from llm_audit.store.objects import StoreDeniedError, StoreUnavailableError
from llm_audit.store.s3 import S3Objects
from ship_exchanges import WRITER, ended_exchange, opening, request_start


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    if request.param == "folder":
        return FolderStore(tmp_path / "objects")
    server = request.getfixturevalue("s3")
    return S3Objects(server.new_bucket(f"audit-{uuid.uuid4().hex}"), server.settings())


def keys(store):
    return [entry.key for entry in store.list()]


def test_a_record_is_stored_under_its_plain_name(store):
    built = build(ended_exchange(), None)

    done = store_record(store, built)

    assert not done.adopted
    assert (done.stored.key, done.stored.sha256, done.stored.size) == (
        built.key,
        built.sha256,
        len(built.data),
    )
    assert (done.stored.writer, done.stored.boot, done.stored.sequence) == (WRITER, 1, 0)
    assert store.get(built.key) == built.data


def test_the_same_record_again_is_found_and_not_stored_twice(store):
    built = build(ended_exchange(), None)
    first = store_record(store, built)

    again = store_record(store, built)

    assert again.adopted
    assert again.stored == first.stored
    assert keys(store) == [built.key]


def test_the_digest_of_what_lies_there_is_adopted_where_another_version_stored_it(store):
    older = build(ended_exchange(opened=opening(proxy_version="0.0.9")), None)
    built = build(ended_exchange(), None)
    store_record(store, older)

    done = store_record(store, built)

    assert done.adopted
    assert done.stored.sha256 == hashlib.sha256(older.data).hexdigest() != built.sha256
    assert done.stored.size == len(older.data)
    assert keys(store) == [built.key]


@pytest.mark.parametrize(
    "other",
    [
        ended_exchange(sequence=1),
        ended_exchange(opened=opening(boot=2)),
        ended_exchange(opened=opening(writer="w-ffffffff")),
    ],
)
def test_a_second_exchange_with_the_same_id_gets_a_name_of_its_own(store, other):
    first, second = build(ended_exchange(), None), build(other, None)
    store_record(store, first)

    done = store_record(store, second)
    again = store_record(store, second)

    assert done.stored.key == second.conflict_key
    assert (again.adopted, again.stored) == (True, done.stored)
    assert store.get(first.key) == first.data
    assert store.get(second.conflict_key) == second.data
    assert sorted(keys(store)) == sorted([first.key, second.conflict_key])


def test_two_exchanges_with_one_id_at_the_same_instant_are_both_kept(store):
    built = [build(ended_exchange(sequence=n), None) for n in range(8)]

    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(lambda one: store_record(store, one), built))

    assert len({one.stored.key for one in done}) == 8
    assert {store.get(one.stored.key) for one in done} == {one.data for one in built}


@pytest.mark.parametrize(
    "foreign", [b"", b"{}", b"not ours", b'{"schemaVersion":1,"writer":7}', b"[" * 500_000]
)
def test_something_else_under_the_plain_name_is_left_alone(store, foreign):
    built = build(ended_exchange(), None)
    store.put_new(built.key, foreign)

    assert store_record(store, built).stored.key == built.conflict_key
    assert store.get(built.key) == foreign


def test_a_body_that_looks_like_a_writer_does_not_claim_to_be_one(store):
    text = ',"writer":{"id":"w-ffffffff","boot":1,"sequence":0,"previousSha256":null}'
    body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    ended = ended_exchange(request_body=(body,), request=request_start(user=text))
    built = build(ended, None)

    assert writer_in(built.data) == (WRITER, 1, 0)


def test_a_put_whose_answer_was_lost_is_adopted_when_asked_again():
    built = build(ended_exchange(), None)
    with scripted_store() as server:
        store = server.opened()
        server.mode = LOST_ANSWER
        with pytest.raises(StoreUnavailableError):
            store_record(store, built)
        server.mode = OK

        done = store_record(store, built)

        assert done.adopted
        assert server.objects == {built.key: built.data}


def test_a_conflict_where_nothing_can_be_read_asks_again_under_the_same_name():
    """S3 answers 409 to concurrent conditional requests; neither may have been stored in the end."""
    built = build(ended_exchange(), None)
    with scripted_store() as server:
        store = server.opened()
        real_put = store.put_new

        def conflicted(key, data):
            server.mode = 409
            try:
                return real_put(key, data)
            finally:
                server.mode = OK

        store.put_new = conflicted
        with pytest.raises(StoreUnavailableError, match="nothing is there yet"):
            store_record(store, built)
        store.put_new = real_put

        assert store_record(store, built).stored.key == built.key


def test_a_reader_without_permission_is_told_so_and_nothing_is_guessed():
    first, second = build(ended_exchange(), None), build(ended_exchange(sequence=1), None)
    with scripted_store() as server:
        store = server.opened()
        store_record(store, first)
        real_head = store.get_head

        def denied(key, limit):
            server.mode = 403
            try:
                return real_head(key, limit)
            finally:
                server.mode = OK

        store.get_head = denied
        with pytest.raises(StoreDeniedError, match="AccessDenied"):
            store_record(store, second)
        assert list(server.objects) == [first.key]
