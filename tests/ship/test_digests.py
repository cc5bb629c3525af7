"""Digests as the shipper makes them: nothing left out, nothing twice, whatever dies or is away."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from evidence import told, verified, verified_alone
from journal_traffic import begin_call, call, end_call, open_writer
from llm_audit.integrity.digests import parse_digest_key, read_digest
from llm_audit.integrity.signatures import new_private_key
from llm_audit.ship.digests import DigestConfig, SigningError
from llm_audit.ship.ledger import KEEP_MS, Ledger
from llm_audit.store.folder import FolderStore
from llm_audit.store.objects import Put, StoreUnavailableError
from ship_running import ship_all, ship_config, shipping, status_of, until

KEY = new_private_key()
OTHER = "w-99999999"


def config(folder: Path, **digests):
    fields = {"interval_s": 3600.0, "open_key": lambda: KEY.sign, "made_by": "test", "look_every_s": 0.005}
    return ship_config(folder, digests=DigestConfig(**(fields | digests)))


def heads(store: FolderStore) -> list[dict]:
    return [json.loads(store.get(entry.key))["head"] for entry in store.list("digests")]


def entries(store: FolderStore) -> list[dict]:
    return [one for entry in store.list("digests") for one in json.loads(store.get(entry.key))["entries"]]


def assert_sound(folder: Path, records: int) -> None:
    """Nothing is found, and so many records are listed."""
    keys = folder / "public"
    keys.mkdir(exist_ok=True)
    (keys / "key.pem").write_text(KEY.public.pem)
    findings, figures = verified(folder / "objects", keys)
    alone, counted = verified_alone(folder / "objects", keys)
    assert findings == alone == []
    assert figures.listed - figures.listed_again == figures.intact - figures.listed_again == records
    assert counted["figures"].get("records listed", 0) == figures.listed
    assert figures.not_listed_yet == 0


def test_a_digest_is_written_at_start_and_at_stop_and_lists_what_was_stored_between(tmp_path):
    store = FolderStore(tmp_path / "objects")
    writer = open_writer(tmp_path / "journal")

    async def scenario():
        async with shipping(config(tmp_path), store):
            await until(lambda: len(heads(store)) == 1)
            for _ in range(3):
                call(writer)

    asyncio.run(scenario())
    writer.close()

    first, last = heads(store)
    assert (first["reason"], first["number"], first["previousSha256"], first["entries"]) == (
        "start",
        0,
        None,
        0,
    )
    assert (last["reason"], last["number"], last["entries"]) == ("stop", 1, 3)
    assert (last["boot"], last["first"], last["last"], last["from"]) == (1, 0, 2, first["to"])
    assert_sound(tmp_path, 3)


def test_an_hour_without_calls_has_its_digest_too(tmp_path):
    store = FolderStore(tmp_path / "objects")
    open_writer(tmp_path / "journal").close()

    async def scenario():
        async with shipping(config(tmp_path, interval_s=0.02), store):
            await until(lambda: len(heads(store)) >= 4)

    asyncio.run(scenario())

    assert [head["number"] for head in heads(store)] == list(range(len(heads(store))))
    assert {head["reason"] for head in heads(store)} == {"start", "interval", "stop"}
    assert {head["entries"] for head in heads(store)} == {0}
    assert_sound(tmp_path, 0)


def test_more_records_than_fit_make_more_digests(tmp_path):
    store = FolderStore(tmp_path / "objects")
    writer = open_writer(tmp_path / "journal")
    for _ in range(45):
        call(writer)
    writer.close()

    ship_all(config(tmp_path, most_entries=10), store)

    counts = [head["entries"] for head in heads(store)]
    assert max(counts) <= 10
    assert sum(counts) == 45
    assert_sound(tmp_path, 45)


def test_each_writer_has_its_chain_and_each_boot_its_digest(tmp_path):
    store = FolderStore(tmp_path / "objects")
    for writer in ("w-0a1b2c3d", OTHER, "w-0a1b2c3d"):
        journal = open_writer(tmp_path / "journal", writer=writer)
        call(journal)
        journal.close()

    ship_all(config(tmp_path), store)

    listed = [(head["writer"], head["boot"], head["first"]) for head in heads(store) if head["entries"]]
    assert sorted(listed) == [("w-0a1b2c3d", 1, 0), ("w-0a1b2c3d", 2, 0), (OTHER, 1, 0)]
    assert_sound(tmp_path, 3)


class _Refusing(FolderStore):
    """A store that does not take some objects at first."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.refuses = lambda _key: False

    def put_new(self, key: str, data: bytes) -> Put:
        if self.refuses(key):
            raise StoreUnavailableError("away")
        return super().put_new(key, data)


def count(store: FolderStore, prefix: str) -> int:
    return sum(1 for _ in store.list(prefix))


def test_a_record_that_is_stored_late_is_listed_late_and_marked(tmp_path):
    store = _Refusing(tmp_path / "objects")
    writer = open_writer(tmp_path / "journal")
    held: list[str] = []
    lock = threading.Lock()

    def is_held(key: str) -> bool:
        with lock:
            if key.startswith("logs/") and not held:
                held.append(key)
            return key in held

    async def scenario():
        async with shipping(config(tmp_path, interval_s=0.2), store):
            for _ in range(200):  # past the caution after a start
                call(writer)
            await until(lambda: count(store, "logs") == 200)
            store.refuses = is_held
            for _ in range(20):
                call(writer)
            await until(lambda: count(store, "logs") == 219)
            digests = count(store, "digests")
            await until(lambda: count(store, "digests") >= digests + 2)
            assert held[0] not in {one["key"] for one in entries(store)}
            store.refuses = lambda _key: False

    asyncio.run(scenario())
    writer.close()

    last = [json.loads(store.get(entry.key)) for entry in store.list("digests")]
    (listing,) = [one for one in last if held[0] in {entry["key"] for entry in one["entries"]}]
    assert listing["head"]["late"] == 1
    assert_sound(tmp_path, 220)


def test_digests_wait_for_a_store_that_is_away_and_no_hour_is_left_out(tmp_path):
    store = _Refusing(tmp_path / "objects")
    store.refuses = lambda key: key.startswith("digests/")
    writer = open_writer(tmp_path / "journal")

    async def scenario():
        async with shipping(config(tmp_path, interval_s=0.02), store) as shipper:
            await until(lambda: shipper._digester.waiting() > 3)
            call(writer)
            await until(lambda: status_of(config(tmp_path))["digestError"] == "away")
            store.refuses = lambda _key: False
            await until(lambda: shipper._digester.waiting() == 0)

    asyncio.run(scenario())
    writer.close()

    assert status_of(config(tmp_path))["digestError"] is None
    assert_sound(tmp_path, 1)


def test_a_key_that_cannot_be_opened_delays_digests_and_no_record(tmp_path):
    store = FolderStore(tmp_path / "objects")
    writer = open_writer(tmp_path / "journal")
    call(writer)
    writer.close()

    def cannot():
        raise SigningError("no key there")

    ship_all(config(tmp_path, open_key=cannot), store)
    assert status_of(config(tmp_path))["digestError"] == "no key there"
    assert len(list(store.list("logs"))) == 1
    assert heads(store) == []

    ship_all(config(tmp_path), store)
    assert_sound(tmp_path, 1)


def test_rows_are_kept_until_a_digest_lists_them(tmp_path):
    store = FolderStore(tmp_path / "objects")
    writer = open_writer(tmp_path / "journal")
    call(writer)
    writer.close()

    def cannot():
        raise SigningError("no key there")

    ship_all(config(tmp_path, open_key=cannot), store)
    later = 10 * KEEP_MS + 4_000_000_000_000
    with closing(Ledger(tmp_path / "journal" / "ledger.sqlite3")) as ledger:
        assert ledger.forget(later) == 0
    ship_all(config(tmp_path), store)
    with closing(Ledger(tmp_path / "journal" / "ledger.sqlite3")) as ledger:
        assert ledger.forget(later) == 1


def test_where_no_digests_are_made_rows_are_forgotten_as_ever(tmp_path):
    store = FolderStore(tmp_path / "objects")
    writer = open_writer(tmp_path / "journal")
    call(writer)
    writer.close()

    ship_all(config(tmp_path, open_key=lambda: None), store)
    ship_all(ship_config(tmp_path), store)

    with closing(Ledger(tmp_path / "journal" / "ledger.sqlite3")) as ledger:
        assert ledger.forget(4_000_000_000_000) == 1


def test_a_lost_ledger_goes_on_from_the_last_digest_in_the_store(tmp_path):
    store = FolderStore(tmp_path / "objects")
    writer = open_writer(tmp_path / "journal")
    slow = begin_call(writer)  # holds the journal's segment, so that all is put again
    for _ in range(5):
        call(writer)
    ship_all(config(tmp_path), store)
    for path in (tmp_path / "journal").glob("ledger.sqlite3*"):
        path.unlink()
    end_call(slow)
    writer.close()

    ship_all(config(tmp_path), store)

    assert "recovered" in {head["reason"] for head in heads(store)}
    assert len({one["key"] for one in entries(store)}) == 6
    assert_sound(tmp_path, 6)


def test_an_older_copy_of_the_ledger_goes_on_from_the_store_too(tmp_path):
    store = FolderStore(tmp_path / "objects")
    ledger = tmp_path / "journal" / "ledger.sqlite3"
    writer = open_writer(tmp_path / "journal")
    call(writer)
    ship_all(config(tmp_path), store)
    copy = ledger.read_bytes()
    call(writer)
    ship_all(config(tmp_path), store)
    ledger.write_bytes(copy)
    call(writer)
    writer.close()

    ship_all(config(tmp_path), store)
    ship_all(config(tmp_path), store)

    assert "recovered" in {head["reason"] for head in heads(store)}
    assert_sound(tmp_path, 3)


def test_a_system_that_gets_digests_later_begins_where_it_is(tmp_path):
    store = FolderStore(tmp_path / "objects")
    writer = open_writer(tmp_path / "journal")
    for _ in range(3):
        call(writer)
    ship_all(ship_config(tmp_path), store)
    with closing(Ledger(tmp_path / "journal" / "ledger.sqlite3")) as ledger:
        ledger.tell(3)
        assert ledger.forget(4_000_000_000_000) == 3
    call(writer)
    writer.close()

    ship_all(config(tmp_path), store)

    keys = tmp_path / "public"
    keys.mkdir()
    (keys / "key.pem").write_text(KEY.public.pem)
    findings, figures = verified(tmp_path / "objects", keys)
    alone, counted = verified_alone(tmp_path / "objects", keys)
    assert told(findings) == told(alone) == set()
    assert figures.before_digests == counted["figures"].get("from before digests") == 3
    assert figures.listed == 1


PROGRAM = """
import asyncio, sys
from pathlib import Path
from llm_audit.integrity.signatures import read_private_key
from llm_audit.ship.digests import DigestConfig
from llm_audit.ship.shipper import Shipper
from llm_audit.store.folder import FolderStore
from ship_running import ship_config

folder = Path(sys.argv[1])
key = read_private_key((folder / "key.pem").read_bytes())
digests = DigestConfig(0.02, lambda: key.sign, "test", most_entries=20, look_every_s=0.005)
shipper = Shipper(ship_config(folder, digests=digests), FolderStore(folder / "objects"), None)
stop = asyncio.Event()

async def run():
    asyncio.get_running_loop().call_later(30, stop.set)
    await shipper.run(stop)

asyncio.run(run())
"""


@pytest.mark.parametrize("point", ["digest-made", "digest-kept", "digest-put"])
def test_a_shipper_that_dies_at_a_crash_point_leaves_no_gap_and_lists_nothing_twice(tmp_path, point):
    (tmp_path / "key.pem").write_bytes(KEY.pem())
    writer = open_writer(tmp_path / "journal")
    calls = 0
    for passage in (1, 2, 4):
        for _ in range(30):
            call(writer)
            calls += 1
        environ = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "LLM_AUDIT_CRASH_AT": f"{point}:{passage}",
        }
        died = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], env=environ, check=False)
        assert died.returncode == -9
    writer.close()
    store = FolderStore(tmp_path / "objects")

    ship_all(config(tmp_path), store)

    assert len(entries(store)) == calls
    numbers = [parse_digest_key(entry.key).number for entry in store.list("digests")]
    assert numbers == list(range(len(numbers)))
    assert_sound(tmp_path, calls)


def test_a_clock_that_was_set_back_is_stated_and_no_finding(tmp_path, monkeypatch):
    store = FolderStore(tmp_path / "objects")
    writer = open_writer(tmp_path / "journal")
    call(writer)
    ship_all(config(tmp_path), store)
    now = time.time_ns()
    monkeypatch.setattr("llm_audit.ship.digests.time.time_ns", lambda: now - 7_200 * 10**9)
    call(writer)
    writer.close()

    ship_all(config(tmp_path), store)

    behind = [head["clockBehindMs"] for head in heads(store)]
    assert max(behind) > 7_000_000
    assert_sound(tmp_path, 2)


def test_what_is_put_reads_back_as_it_was_made(tmp_path):
    store = FolderStore(tmp_path / "objects")
    writer = open_writer(tmp_path / "journal")
    call(writer)
    writer.close()
    ship_all(config(tmp_path), store)

    for entry in store.list("digests"):
        assert read_digest(store.get(entry.key)).head.made_by == "test"
