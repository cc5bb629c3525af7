"""The embedded index: pages against a plain list as oracle, readers beside writers, and broken files."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from calls import item, mixed_items, request_id
from llm_audit.index.index import IndexDamagedError, IndexMissingError, IndexUnavailableError
from llm_audit.index.selection import Order, Selection
from llm_audit.index.sqlite import SqliteIndex, SqliteReader, choose_plan, set_aside
from llm_audit.index.sqlite_schema import plans


@pytest.fixture
def path(tmp_path):
    return tmp_path / "index" / "audit.sqlite3"


@pytest.fixture
def index(path):
    one = SqliteIndex(path)
    yield one
    one.close()


@pytest.fixture
def reader(index, path):
    one = SqliteReader(path)
    yield one
    one.close()


def test_writing_twice_changes_nothing(index, reader):
    items = mixed_items(100)
    index.put(items)
    before = reader.query(Selection(), limit=500), reader.arrivals("0")
    index.put(items)
    assert (reader.query(Selection(), limit=500), reader.arrivals("0")) == before


def test_a_batch_is_written_wholly_or_not_at_all(index, reader):
    index.put([item(1)])
    with pytest.raises(AttributeError):
        index.put([item(2), None])
    assert [one.request_id for one in reader.query(Selection()).items] == [request_id(1)]
    index.put([item(3)])
    assert len(reader.query(Selection()).items) == 2


def test_arrivals_come_in_order_of_writing_however_long_ago_they_started(index, reader):
    index.put([item(5)])
    position = reader.arrivals().position
    assert reader.arrivals(position).items == ()
    index.put([item(9)])
    index.put([item(2), item(3)])
    first = reader.arrivals(position, limit=2)
    assert [one.request_id for one in first.items] == [request_id(9), request_id(2)]
    rest = reader.arrivals(first.position)
    assert [one.request_id for one in rest.items] == [request_id(3)]


def test_the_files_are_for_their_owner_alone(index, path):
    index.put([item(1)])
    files = sorted(path.parent.iterdir())
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert path.with_name("audit.sqlite3-wal") in files
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_was_open_to_others_is_closed_to_them(path):
    path.parent.mkdir(mode=0o700)
    path.touch(0o644)
    SqliteIndex(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_reader_in_the_middle_of_a_read_does_not_stop_the_writer(index, path):
    index.put(mixed_items(500))
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as beside:
        rows = beside.execute("SELECT id FROM items")
        rows.fetchone()
        index.put([item(7000)])
        assert len(rows.fetchall()) == 499
    beside.close()


def test_a_reader_cannot_write(reader):
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection.execute("DELETE FROM items")


def test_two_writers_wait_for_each_other(path, index):
    other = SqliteIndex(path)
    threads = [
        threading.Thread(target=lambda at=at, one=one: [one.put([item(at + n)]) for n in range(50)])
        for at, one in ((0, index), (1000, other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(index.query(Selection(), limit=500).items) == 100
    other.close()


def test_a_locked_index_gives_a_clear_error(index, path):
    index._connection.execute("PRAGMA busy_timeout = 10")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(IndexUnavailableError, match="locked by another process"):
        index.put([item(1)])
    holder.execute("ROLLBACK")
    holder.close()
    index.put([item(1)])


def test_a_missing_index_is_named_and_not_made_by_a_reader(tmp_path):
    with pytest.raises(IndexMissingError, match="llm-audit reindex"):
        SqliteReader(tmp_path / "none.sqlite3")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_index_is_refused_by_reader_and_writer(tmp_path):
    text = tmp_path / "text.sqlite3"
    text.write_bytes(b"not a database at all" * 100)
    other = tmp_path / "other.sqlite3"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE t (a)")
    database.close()
    for file in (text, other):
        before = file.read_bytes()
        for kind in (SqliteReader, SqliteIndex):
            with pytest.raises(IndexDamagedError, match="reindex"):
                kind(file)
        assert file.read_bytes() == before


def test_an_index_of_a_later_format_is_refused_with_advice(index, path):
    index._connection.execute("PRAGMA user_version = 99")
    with pytest.raises(IndexDamagedError, match="format 99, this program knows 1"):
        SqliteReader(path)


def test_damage_inside_the_file_is_found_by_the_check(index, path):
    index.put(mixed_items(2000))
    assert index.check() == 2000
    index.close()
    data = bytearray(path.read_bytes())
    data[8192:40960] = b"\xff" * (40960 - 8192)
    path.write_bytes(data)
    reader = SqliteReader(path)
    with pytest.raises(IndexDamagedError, match="damaged"):
        reader.check()
    reader.close()


def test_a_writer_goes_on_in_a_new_file_when_the_old_one_was_set_aside(index, reader, path):
    index.put([item(1)])
    assert len(reader.query(Selection()).items) == 1
    aside = set_aside(path)
    assert aside is not None
    assert aside.name == "audit.sqlite3.damaged-1"
    index.put([item(2)])
    assert [one.request_id for one in reader.query(Selection()).items] == [request_id(2)]
    assert index.check() == 1


def test_nothing_is_set_aside_where_nothing_is(tmp_path):
    assert set_aside(tmp_path / "audit.sqlite3") is None


def test_a_follower_starts_over_when_the_index_was_made_anew(index, reader, path):
    index.put(mixed_items(20))
    position = reader.arrivals().position
    set_aside(path)
    index.put([item(2)])
    assert [one.request_id for one in reader.arrivals(position).items] == [request_id(2)]


def test_the_path_with_the_fewest_rows_is_chosen(index):
    index.put([*mixed_items(6000), item(9000, user="rare", source="billing")])

    def chosen(selection):
        return choose_plan(index._connection, plans(selection)).index

    assert chosen(Selection(source="billing", user="rare")) == "by_user"
    assert chosen(Selection(user="user-1", status="none", since="2026-11-24T12:00:05.990Z")) in (
        "by_user",
        "by_status",
        "by_time",
    )
    assert chosen(Selection(user="rare", order=Order.SLOWEST)) == "by_user"
    assert chosen(Selection(since="2026-11-24T12:00:05.990Z", order=Order.SLOWEST)) == "by_time"
    assert chosen(Selection(order=Order.SLOWEST)) == "by_latency"


_WRITER = """
import sys
from pathlib import Path
from calls import item
from llm_audit.index.sqlite import SqliteIndex
index = SqliteIndex(Path(sys.argv[1]))
for batch in range(10_000):
    index.put([item(batch * 10 + number) for number in range(10)])
    print(batch, flush=True)
"""


def test_a_writer_killed_at_any_instant_leaves_every_batch_whole_and_loses_none_it_confirmed(path):
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    for batches in (1, 4, 9):
        command = [sys.executable, "-c", _WRITER, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
            confirmed = [int(process.stdout.readline()) for _ in range(batches)][-1]
            process.kill()
        reader = SqliteReader(path)
        batches_found = Counter(
            int(one.request_id[-12:], 16) // 10 for one in reader.query(Selection(), limit=100_000).items
        )
        assert reader.check() == batches_found.total()
        reader.close()
        assert set(batches_found.values()) == {10}
        assert set(range(confirmed + 1)) <= set(batches_found)


def test_closing_twice_is_harmless(index):
    index.close()
    index.close()


def test_a_call_is_found_by_its_id_and_two_calls_with_one_id_both(index):
    first = item(1)
    second = replace(first, stem=f"{request_id(1)}~w-1-3-9", started_at="2026-11-24T13:00:00.000Z")
    index.put([first, second, item(2)])
    assert index.get(request_id(1)) == (first, second)
    assert index.get(second.stem) == (second,)
    assert index.get("nothing") == ()
