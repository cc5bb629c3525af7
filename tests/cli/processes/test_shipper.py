"""What the shipper's process tells the index, and what it does while the index cannot be told."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest

from calls import key_of, record, request_id
from llm_audit.cli.processes.shipper import IndexBehindError, indexing
from llm_audit.cli.settings import load_settings
from llm_audit.index.index import IndexDamagedError
from llm_audit.index.sqlite import SqliteReader
from llm_audit.ship.notify import ObjectCreated
from recorded import Recorded


@pytest.fixture
def recorded(tmp_path):
    one = Recorded(tmp_path)
    one.keep([record(1), record(2)], is_indexed=False)
    return one


def created(recorded, number):
    return ObjectCreated(recorded.store.bucket, key_of(record(number)), 1, "")


def settings(recorded, **environ):
    return load_settings({"AUDIT_DATA_DIR": str(recorded.data_dir), **environ})


def indexed(recorded):
    reader = SqliteReader(recorded.index_path)
    try:
        return [number for number in (1, 2) if reader.get(request_id(number))]
    finally:
        reader.close()


def test_what_was_stored_is_indexed(recorded):
    with indexing(settings(recorded), recorded.store) as notify:
        asyncio.run(notify([created(recorded, 1), created(recorded, 2)]))
    assert indexed(recorded) == [1, 2]


def test_a_damaged_index_stops_nothing_and_is_told_again_once_it_is_mended(recorded):
    recorded.index_path.parent.mkdir()
    recorded.index_path.write_bytes(b"rubbish" * 1000)
    with indexing(settings(recorded), recorded.store) as notify:
        with pytest.raises(IndexDamagedError, match="reindex"):
            asyncio.run(notify([created(recorded, 1)]))
        assert recorded.run("reindex").exit_code == 0
        recorded.keep([record(3)], is_indexed=False)
        asyncio.run(notify([created(recorded, 3)]))
    assert indexed(recorded) == [1, 2]


def test_what_holds_the_index_up_is_named(recorded, monkeypatch):
    monkeypatch.setattr("llm_audit.index.sqlite.BUSY_SECONDS", 0.05)
    with indexing(settings(recorded), recorded.store) as notify:
        asyncio.run(notify([created(recorded, 1)]))
        with closing(sqlite3.connect(recorded.index_path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(IndexBehindError, match=r"1 of 1 records .* is locked by another process"):
                asyncio.run(notify([created(recorded, 2)]))
        asyncio.run(notify([created(recorded, 2)]))
    assert indexed(recorded) == [1, 2]


def test_where_a_lambda_fills_the_index_nobody_is_told(recorded):
    some = settings(recorded, AUDIT_BUCKET="s3://bucket")
    with indexing(some, recorded.store) as notify:
        assert notify is None
