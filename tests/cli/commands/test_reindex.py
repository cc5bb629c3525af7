"""``reindex``: from the objects alone, with whatever index was there before."""

from __future__ import annotations

import json

import pytest

from calls import item, key_of, record, request_id
from llm_audit.index.sqlite import SqliteIndex
from recorded import Recorded


@pytest.fixture
def recorded(tmp_path):
    one = Recorded(tmp_path)
    one.keep([record(n) for n in range(20)])
    return one


def listed(recorded):
    return recorded.run("query", "--json", "--limit", "100").stdout


def test_a_deleted_index_comes_back_as_it_was(recorded):
    before = listed(recorded)
    for path in recorded.index_path.parent.iterdir():
        path.unlink()
    result = recorded.run("reindex")
    assert (result.exit_code, result.stdout) == (0, "20 calls indexed, 0 removed, 0 other objects\n")
    assert listed(recorded) == before


def test_what_has_no_object_leaves_the_index(recorded):
    before = listed(recorded)
    index = SqliteIndex(recorded.index_path)
    index.put([item(9000)])
    index.close()
    assert recorded.run("reindex").stdout == "20 calls indexed, 1 removed, 0 other objects\n"
    assert listed(recorded) == before


def test_a_damaged_index_is_set_aside_and_built_anew(recorded):
    before = listed(recorded)
    recorded.index_path.write_bytes(b"rubbish" * 5000)
    assert recorded.run("query").exit_code == 1
    result = recorded.run("reindex")
    assert result.exit_code == 0
    assert "audit.sqlite3.damaged-1" in result.stderr
    assert listed(recorded) == before


def test_a_writer_that_is_open_meanwhile_loses_nothing(recorded):
    writer = SqliteIndex(recorded.index_path)
    recorded.index_path.write_bytes(b"rubbish" * 5000)
    recorded.run("reindex")
    writer.put([item(9000)])
    writer.close()
    lines = [json.loads(line)["requestId"] for line in listed(recorded).splitlines()]
    assert len(lines) == 21
    assert request_id(9000) in lines


def test_other_objects_are_counted_and_left_out(recorded):
    recorded.store.put_new("logs/2026/11/24/notes.json", b'{"a":1}')
    recorded.store.put_new("logs/2026/11/24/notes.txt", b"hello")
    recorded.store.put_new("elsewhere/notes.json", b'{"a":1}')
    assert recorded.run("reindex").stdout == "20 calls indexed, 0 removed, 1 other objects\n"


def test_without_any_record_nothing_is_changed(recorded):
    before = listed(recorded)
    result = recorded.run("reindex", "--prefix", "typo")
    assert result.exit_code == 1
    assert "no record below typo/" in result.stderr
    assert listed(recorded) == before


def test_objects_that_cannot_be_read_are_named_and_keep_their_items(recorded):
    before = listed(recorded)
    path = recorded.data_dir / "objects" / key_of(record(3))
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"schemaVersion":1', b'"schemaVersion":9'))
    result = recorded.run("reindex")
    assert result.exit_code == 1
    assert key_of(record(3)) in result.stderr
    assert listed(recorded) == before
