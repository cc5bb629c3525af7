from __future__ import annotations

import asyncio
import shutil

import pytest

from journal_traffic import begin_call, call, open_writer
from llm_audit.ship.build import build
from llm_audit.ship.replay import (
    NotReplayableError,
    Replayed,
    document_as_built,
    replay_journals,
    replay_objects,
    writers_in,
)
from llm_audit.store.folder import FolderStore
from ship_exchanges import REQUEST_ID, ended_exchange
from ship_running import assert_whole_chain, ship_all, ship_config, stored_records


class Told:
    def __init__(self):
        self.keys = []

    async def __call__(self, batch):
        self.keys += [created.key for created in batch]


def everything_in(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def saved(tmp_path):
    """Give a journal as it was saved from a dead machine: two writers, one of which died in the middle of a call."""
    for writer_id in ("w-00000001", "w-00000002"):
        writer = open_writer(tmp_path / "saved", writer=writer_id)
        for n in range(3):
            call(writer, f"{writer_id} {n}")
        if writer_id == "w-00000002":
            begin_call(writer, "open")
        writer.close()
    return tmp_path / "saved"


def replay(folder, saved, store, told=None):
    config = ship_config(folder)
    return asyncio.run(replay_journals(writers_in(saved), store, told, config))


def test_a_saved_journal_is_stored_and_told_and_left_as_it_was(tmp_path, saved):
    store, told, before = FolderStore(tmp_path / "objects"), Told(), everything_in(saved)

    replayed = replay(tmp_path, saved, store, told)

    assert replayed == Replayed(stored=7)
    records = stored_records(store)
    assert_whole_chain(records)
    assert [record["outcome"] for record in records] == ["complete"] * 6 + ["interrupted"]
    assert sorted(told.keys) == sorted(record["key"] for record in records)
    assert everything_in(saved) == before
    assert list((tmp_path / "journal").iterdir()) == []


def test_replaying_again_finds_everything_there(tmp_path, saved):
    store = FolderStore(tmp_path / "objects")
    replay(tmp_path, saved, store)
    before = stored_records(store)

    assert replay(tmp_path, saved, store) == Replayed(stored=7, found=7)
    assert stored_records(store) == before


def test_a_replay_and_the_shipper_itself_agree(tmp_path, saved):
    store = FolderStore(tmp_path / "objects")
    replay(tmp_path, saved / "w-00000001", store)
    replay(tmp_path, saved / "w-00000002", store)
    before = stored_records(store)

    config = ship_config(tmp_path, journal=saved)
    ship_all(config, store)

    assert stored_records(store) == before


def test_a_journal_that_is_being_written_is_refused(tmp_path):
    writer = open_writer(tmp_path / "journal")

    with pytest.raises(NotReplayableError, match="ships it by itself"):
        writers_in(tmp_path / "journal")
    with pytest.raises(NotReplayableError, match="ships it by itself"):
        writers_in(tmp_path / "journal" / "w-0a1b2c3d")

    writer.close()
    assert writers_in(tmp_path / "journal") == [tmp_path / "journal" / "w-0a1b2c3d"]


def test_a_folder_without_segments_is_no_journal(tmp_path):
    (tmp_path / "w-00000001").mkdir()

    assert writers_in(tmp_path) == []


def test_what_could_not_be_told_is_reported(tmp_path, saved):
    async def away(_):
        raise ConnectionError("index is away")

    replayed = replay(tmp_path, saved, FolderStore(tmp_path / "objects"), away)

    assert replayed.stored == 7
    assert "7 records did not reach the index" in replayed.problems[0]


def test_saved_objects_are_stored_byte_for_byte_under_their_names(tmp_path):
    first, second = build(ended_exchange(), None), build(ended_exchange(sequence=1), "ab" * 32)
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, built in zip(files, (first, second), strict=True):
        file.write_bytes(built.data)
    store, told = FolderStore(tmp_path / "objects"), Told()

    replayed = asyncio.run(replay_objects(files, store, told, "logs"))
    again = asyncio.run(replay_objects(files, store, None, "logs"))

    assert replayed == Replayed(stored=2)
    assert again == Replayed(stored=2, found=2)
    assert store.get(first.key) == first.data
    assert store.get(second.conflict_key) == second.data
    assert told.keys == [first.key, second.conflict_key]


def test_a_document_that_the_index_does_not_take_is_stored_all_the_same(tmp_path):
    async def away(_):
        raise ConnectionError("index is away")

    built = build(ended_exchange(), None)
    (tmp_path / "a.json").write_bytes(built.data)
    store = FolderStore(tmp_path / "objects")

    replayed = asyncio.run(replay_objects([tmp_path / "a.json"], store, away, "logs"))

    assert replayed.stored == 1
    assert "run reindex" in replayed.problems[0]
    assert store.get(built.key) == built.data


def test_a_changed_copy_of_a_record_never_replaces_it(tmp_path):
    built = build(ended_exchange(), None)
    store = FolderStore(tmp_path / "objects")
    store.put_new(built.key, built.data)
    (tmp_path / "forged.json").write_bytes(built.data.replace(b"Say hi", b"Say ho"))

    replayed = asyncio.run(replay_objects([tmp_path / "forged.json"], store, None, "logs"))

    assert replayed.stored == 0
    assert "other bytes" in replayed.problems[0]
    assert store.get(built.key) == built.data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b'{"requestId":"../../x","startedAt":"2026-11-24T00:00:00.000Z","latencyMs":1,"writer":{"id":"w-0a1b2c3d","boot":1,"sequence":1,"previousSha256":null}}',
        b'{"requestId":7,"startedAt":"2026-11-24T00:00:00.000Z","latencyMs":1,"writer":{"id":"w-0a1b2c3d","boot":1,"sequence":1,"previousSha256":null}}',
    ],
)
def test_what_is_no_document_is_named_and_stops_nothing(tmp_path, data):
    good = build(ended_exchange(), None)
    (tmp_path / "bad.json").write_bytes(data)
    (tmp_path / "good.json").write_bytes(good.data)
    store = FolderStore(tmp_path / "objects")
    files = [tmp_path / "bad.json", tmp_path / "missing.json", tmp_path / "good.json"]

    replayed = asyncio.run(replay_objects(files, store, None, "logs"))

    assert replayed.stored == 1
    assert [problem.split(":")[0].rsplit("/", 1)[1] for problem in replayed.problems] == [
        "bad.json",
        "missing.json",
    ]


def test_a_document_is_taken_for_what_it_says():
    built = build(ended_exchange(sequence=5), "ab" * 32)

    assert document_as_built(built.data, "logs") == built
    assert built.request_id == str(REQUEST_ID)


def test_the_store_being_lost_a_replay_brings_everything_back(tmp_path, saved):
    store = FolderStore(tmp_path / "objects")
    replay(tmp_path, saved, store)
    before = stored_records(store)
    shutil.rmtree(tmp_path / "objects")
    fresh = FolderStore(tmp_path / "objects")

    replay(tmp_path, saved, fresh)

    assert stored_records(fresh) == before
