from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
import uuid

import pytest

import llm_audit.ship.shipper as shipper_module
from faults.scripted_store import OK, scripted_store
from journal_traffic import begin_call, call, end_call, open_writer, response_body
from llm_audit.record.encoding import sha256_hex
from llm_audit.ship.line import CAUTION, WINDOW_RECORDS
from llm_audit.ship.lock import ShipLockedError
from llm_audit.ship.shipper import Shipper
from llm_audit.store.folder import FolderStore
from llm_audit.store.s3 import S3Objects
from ship_running import (
    assert_whole_chain,
    ship_all,
    ship_config,
    shipping,
    status_of,
    stored_records,
    until,
)


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    if request.param == "folder":
        return FolderStore(tmp_path / "objects")
    server = request.getfixturevalue("s3")
    return S3Objects(server.new_bucket(f"audit-{uuid.uuid4().hex}"), server.settings())


def test_calls_become_records_while_their_writer_lives(tmp_path, store):
    config = ship_config(tmp_path)
    writer = open_writer(config.journal)

    async def scenario():
        async with shipping(config, store):
            for n in range(20):
                call(writer, f"question {n}")
            await until(lambda: len(list(store.list())) == 20)

    asyncio.run(scenario())
    writer.close()

    records = stored_records(store)
    assert_whole_chain(records)
    assert [record["promptPreview"] for record in records] == [f"user: question {n}" for n in range(20)]
    assert {record["outcome"] for record in records} == {"complete"}
    assert {record["key"].rsplit("/", 1)[1] for record in records} == {
        f"{record['requestId']}.json" for record in records
    }


def test_several_writers_each_have_their_own_chain(tmp_path):
    config, store = ship_config(tmp_path), FolderStore(tmp_path / "objects")
    writers = [open_writer(config.journal, writer=f"w-0000000{n}") for n in range(3)]
    for n in range(60):
        call(writers[n % 3])

    ship_all(config, store)

    for writer in writers:
        writer.close()
    records = stored_records(store)
    assert len(records) == 60
    assert_whole_chain(records)
    assert len({record["writer"]["id"] for record in records}) == 3


def test_a_second_life_puts_nothing_again_and_goes_on_with_the_chain_across_boots(tmp_path):
    config = ship_config(tmp_path)
    with scripted_store() as server:
        store = server.opened()
        for boot in range(3):
            writer = open_writer(config.journal)
            for n in range(5):
                call(writer, f"boot {boot} call {n}")
            writer.close()
            ship_all(config, store)
            ship_all(config, store)

        assert_whole_chain(stored_objects(server))
        assert server.requests[OK] == 15


def stored_objects(server) -> list[dict]:
    """Look into the scripted store without asking it."""

    class Objects:
        def list(self):
            return [type("Entry", (), {"key": key}) for key in server.objects]

        def get(self, key):
            return server.objects[key]

    return stored_records(Objects())


def test_what_was_stored_is_freed_from_the_journal(tmp_path):
    config, store = ship_config(tmp_path), FolderStore(tmp_path / "objects")
    writer = open_writer(config.journal, limit=16 << 20)
    total = 0

    async def scenario():
        nonlocal total
        async with shipping(config, store):
            for _ in range(6):
                for _ in range(40):
                    call(writer, pad=100_000)
                    total += 1
                await until(lambda: len(list(store.list("logs"))) == total)  # noqa: B023 - awaited here
                await until(lambda: used(config.journal) < 12 << 20)

    asyncio.run(scenario())
    writer.close()
    assert len(stored_records(store)) == total == 240


def used(journal) -> int:
    return sum(path.stat().st_blocks * 512 for path in journal.glob("w-*/*") if path.exists())


def test_a_slow_call_does_not_pin_the_journal_and_is_shipped_whole_when_it_ends(tmp_path):
    config, store = ship_config(tmp_path), FolderStore(tmp_path / "objects")
    writer = open_writer(config.journal, limit=16 << 20)
    slow = begin_call(writer, "slow")

    async def scenario():
        async with shipping(config, store):
            for round_ in range(1, 5):
                for _ in range(40):
                    call(writer, pad=100_000)
                await until(lambda n=round_: len(list(store.list("logs"))) == n * 40)
                await until(lambda: used(config.journal) < 12 << 20)
            end_call(slow, "at last")

    asyncio.run(scenario())
    writer.close()
    records = stored_records(store)
    assert_whole_chain(records)
    assert records[-1]["promptPreview"] == "user: slow"
    assert records[-1]["responsePreview"] == "at last"


def test_calls_of_a_dead_writer_are_closed_as_interrupted_with_what_had_arrived(tmp_path):
    config, store = ship_config(tmp_path), FolderStore(tmp_path / "objects")
    writer = open_writer(config.journal)
    call(writer, "whole")
    begin_call(writer, "cut short")
    writer.close()  # with a call still open, closing leaves it to recovery, as a death does

    ship_all(config, store)

    records = stored_records(store)
    assert_whole_chain(records)
    assert [record["outcome"] for record in records] == ["complete", "interrupted"]
    assert records[1]["promptPreview"] == "user: cut short"
    assert records[1]["statusCode"] is None


@pytest.mark.parametrize("fault", [500, 503, 403])
def test_while_the_store_is_away_memory_stays_flat_and_then_everything_arrives(tmp_path, fault):
    config = ship_config(tmp_path)
    writer = open_writer(config.journal)
    count = CAUTION + 3 * WINDOW_RECORDS

    async def scenario():
        with scripted_store() as server:
            async with shipping(config, server.opened()) as shipper:
                for n in range(CAUTION):
                    call(writer, f"{n}")
                await until(lambda: len(server.objects) == CAUTION)
                server.mode = fault
                for n in range(CAUTION, count):
                    call(writer, f"{n}")
                await until(lambda: len(shipper._out) == WINDOW_RECORDS)
                await until(lambda: status_of(config)["storeError"] is not None)
                for _ in range(20):
                    server.arrived.acquire(timeout=60)
                assert len(shipper._out) == WINDOW_RECORDS
                assert "s3://audit/logs/" in status_of(config)["storeError"]["message"]
                assert len(server.objects) == CAUTION
                server.mode = OK
                await until(lambda: len(server.objects) == count)
            assert_whole_chain(stored_objects(server))
        status = status_of(config)
        assert (status["state"], status["stored"], status["storeError"]) == ("stopped", count, None)
        assert status["writers"]["w-0a1b2c3d"]["sequence"] == count - 1

    asyncio.run(scenario())
    writer.close()


def test_bytes_that_are_out_are_bounded_too(tmp_path):
    config = ship_config(tmp_path, window_bytes=500_000)
    writer = open_writer(config.journal)

    async def scenario():
        with scripted_store() as server:
            store = server.opened()
            async with shipping(config, store) as shipper:
                for n in range(CAUTION):
                    call(writer, f"{n}")
                await until(lambda: len(server.objects) == CAUTION)
                server.mode = 503
                for _ in range(20):
                    call(writer, pad=200_000)
                await until(lambda: len(shipper._out) == 3)
                for _ in range(20):
                    server.arrived.acquire(timeout=60)
                assert len(shipper._out) == 3
                server.mode = OK
            assert len(server.objects) == CAUTION + 20

    asyncio.run(scenario())
    writer.close()


def test_a_record_that_the_store_refuses_for_its_size_holds_nothing_up(tmp_path, monkeypatch):
    config = ship_config(tmp_path)
    writer = open_writer(config.journal)
    monkeypatch.setattr(shipper_module, "REFUSED_RETRY", config.retry)

    async def scenario():
        with scripted_store() as server:
            server.refused_over = 50_000
            async with shipping(config, server.opened()):
                call(writer, "large", pad=60_000)
                for n in range(10):
                    call(writer, f"{n}")
                await until(lambda: len(server.objects) == 10)
                await until(lambda: status_of(config)["refused"] == 1)
                assert "EntityTooLarge" in status_of(config)["storeError"]["message"]
                assert status_of(config)["writers"]["w-0a1b2c3d"]["sequence"] is None
                server.refused_over = None
                await until(lambda: len(server.objects) == 11)
            records = stored_objects(server)
        assert_whole_chain(records)
        assert records[0]["promptPreview"] == "user: large"
        assert status_of(config)["refused"] == 0

    asyncio.run(scenario())
    writer.close()


def test_two_calls_with_one_id_are_both_kept(tmp_path, store):
    config = ship_config(tmp_path)
    writer = open_writer(config.journal)
    same = uuid.uuid4()
    for n in range(3):
        call(writer, f"{n}", request_id=same)

    ship_all(config, store)
    ship_all(config, store)

    writer.close()
    records = stored_records(store)
    assert_whole_chain(records)
    assert [record["promptPreview"] for record in records] == ["user: 0", "user: 1", "user: 2"]
    assert sorted(record["key"].rsplit("/", 1)[1] for record in records) == [
        f"{same}.json",
        f"{same}~w-0a1b2c3d-1-1.json",
        f"{same}~w-0a1b2c3d-1-2.json",
    ]
    assert status_of(config)["stored"] == 0  # the second life found everything in its ledger


def test_without_its_ledger_a_shipper_finds_everything_in_the_store_and_adopts_it(tmp_path, store):
    config = ship_config(tmp_path)
    writer = open_writer(config.journal)
    same = uuid.uuid4()
    for n in range(4):
        call(writer, f"{n}", request_id=same if n % 2 else None)
    ship_all(config, store)
    before = stored_records(store)
    for path in config.journal.glob("ledger.sqlite3*"):
        path.unlink()
    call(writer, "new")

    ship_all(config, store)

    writer.close()
    records = stored_records(store)
    assert records[:4] == before
    assert len(records) == 5
    assert_whole_chain(records)
    assert status_of(config)["adopted"] == 4


def test_the_chain_links_to_what_an_earlier_version_stored_in_other_words(tmp_path, store, monkeypatch):
    config = ship_config(tmp_path)
    writer = open_writer(config.journal)
    for n in range(3):
        call(writer, f"{n}")
    real = shipper_module.build

    def older(ended, previous, note):
        """Build as an earlier version did, which did not know the operation's name."""
        built = real(ended, previous, note)
        data = built.data.replace(b'"operation":"chat"', b'"operation":null')
        return built._replace(data=data, sha256=sha256_hex(data))

    monkeypatch.setattr(shipper_module, "build", older)
    ship_all(config, store)
    for path in config.journal.glob("ledger.sqlite3*"):
        path.unlink()
    monkeypatch.setattr(shipper_module, "build", real)
    call(writer, "new")

    ship_all(config, store)

    writer.close()
    records = stored_records(store)
    assert [record["operation"] for record in records] == [None, None, None, "chat"]
    assert_whole_chain(records)
    assert status_of(config)["brokenLinks"] == 0


def test_what_cannot_be_built_goes_to_quarantine_and_a_stub_takes_its_place(
    tmp_path, store, monkeypatch, caplog
):
    config = ship_config(tmp_path)
    writer = open_writer(config.journal)
    for n in range(5):
        call(writer, f"secret {n}")
    real = shipper_module.build

    def mistaken(ended, previous, note):
        if ended.sequence == 2:
            raise TypeError(f"cannot handle {b''.join(ended.request_body)!r}")
        return real(ended, previous, note)

    monkeypatch.setattr(shipper_module, "build", mistaken)

    ship_all(config, store)

    writer.close()
    records = stored_records(store)
    assert_whole_chain(records)
    stub = records[2]
    assert stub["error"]["type"] == "quarantined"
    assert "TypeError in test_shipper.py" in stub["error"]["message"]
    assert "bodyText" not in stub["request"]
    assert [record["promptPreview"] for record in records] == [
        "user: secret 0",
        "user: secret 1",
        None,
        "user: secret 3",
        "user: secret 4",
    ]
    kept = config.quarantine / "w-0a1b2c3d-1-2"
    assert b"secret 2" in (kept / "request-body.bin").read_bytes()
    assert status_of(config)["quarantined"] == 1
    assert "secret" not in caplog.text


def test_a_damaged_exchange_ships_as_a_stub_and_its_neighbours_whole(tmp_path):
    config, store = ship_config(tmp_path), FolderStore(tmp_path / "objects")
    writer = open_writer(config.journal)
    for n in range(3):
        call(writer, f"call {n}")
    writer.close()
    segment = next(config.journal.glob("w-*/*.seg"))
    data = bytearray(segment.read_bytes())
    data[data.index(b"call 1") + 5] ^= 0x40
    segment.write_bytes(data)

    ship_all(config, store)

    records = stored_records(store)
    assert_whole_chain(records)
    assert [record["error"] is None for record in records] == [True, False, True]
    assert records[1]["error"]["type"] == "quarantined"
    frames = (config.quarantine / "w-0a1b2c3d-1-1" / "frames.bin").read_bytes()
    assert response_body("hello") in frames


def test_the_index_is_told_of_every_record_once_it_is_in_the_ledger(tmp_path):
    config, store = ship_config(tmp_path), FolderStore(tmp_path / "objects")
    writer = open_writer(config.journal)
    for _ in range(10):
        call(writer)
    told = []

    async def notify(batch):
        ledger = sqlite3.connect(config.journal / "ledger.sqlite3")
        known = {key for (key,) in ledger.execute("SELECT key FROM stored")}
        ledger.close()
        assert {created.key for created in batch} <= known
        told.extend(batch)

    ship_all(config, store, notify)

    writer.close()
    records = stored_records(store)
    assert {(created.bucket, created.key, created.sha256) for created in told} == {
        (store.bucket, record["key"], record["sha256"]) for record in records
    }
    assert len(told) == 10
    assert status_of(config)["untold"] == 0


def test_an_index_that_is_away_never_keeps_records_from_being_stored(tmp_path):
    config, store = ship_config(tmp_path), FolderStore(tmp_path / "objects")
    writer = open_writer(config.journal)
    for _ in range(WINDOW_RECORDS + CAUTION + 20):
        call(writer)

    async def away(_):
        raise ConnectionError("index is away")

    ship_all(config, store, away)

    writer.close()
    assert len(stored_records(store)) == WINDOW_RECORDS + CAUTION + 20
    assert status_of(config)["untold"] == WINDOW_RECORDS + CAUTION + 20
    assert status_of(config)["indexError"] == "ConnectionError: index is away"


def test_a_ledger_that_cannot_be_written_frees_nothing_and_recovers(tmp_path):
    config, store = ship_config(tmp_path), FolderStore(tmp_path / "objects")
    writer = open_writer(config.journal)

    async def scenario():
        async with shipping(config, store) as shipper:
            blocker = sqlite3.connect(config.journal / "ledger.sqlite3", isolation_level=None)
            shipper._ledger._db.execute("PRAGMA busy_timeout=0")
            blocker.execute("BEGIN IMMEDIATE")
            for _ in range(3):
                call(writer)
            await until(lambda: status_of(config)["ledgerError"] is not None)
            assert "cannot be written" in status_of(config)["ledgerError"]
            assert len(shipper._out) > 0
            blocker.execute("ROLLBACK")
            blocker.close()

    asyncio.run(scenario())
    writer.close()
    assert len(stored_records(store)) == 3
    assert status_of(config)["ledgerError"] is None


def test_one_journal_has_one_shipper(tmp_path):
    config, store = ship_config(tmp_path), FolderStore(tmp_path / "objects")

    async def scenario():
        async with shipping(config, store):
            with pytest.raises(ShipLockedError, match="another process ships"):
                Shipper(config, store, None)

    asyncio.run(scenario())
    ship_all(config, store)


def test_a_clean_stop_gives_up_on_a_store_that_is_away_and_loses_nothing(tmp_path):
    config = ship_config(tmp_path, drain_s=0.05)
    writer = open_writer(config.journal)
    with scripted_store() as server:
        server.mode = 503
        for n in range(5):
            call(writer, f"{n}")

        ship_all(config, server.opened())
        assert status_of(config)["state"] == "stopped"
        server.mode = OK
        ship_all(ship_config(tmp_path), server.opened())

        writer.close()
        assert_whole_chain(stored_objects(server))
        assert len(server.objects) == 5


def test_a_journal_that_cannot_be_read_is_reported_and_stops_no_other(tmp_path):
    config, store = ship_config(tmp_path), FolderStore(tmp_path / "objects")
    broken = open_writer(config.journal, writer="w-00000001")
    call(broken)
    broken.close()
    segment = next((config.journal / "w-00000001").glob("*.seg"))
    data = bytearray(segment.read_bytes())
    data[8:10] = data[18:20] = data[28:30] = (999).to_bytes(2, "little")  # a version that nobody knows yet
    segment.write_bytes(data)
    writer = open_writer(config.journal)
    call(writer)

    ship_all(config, store)

    writer.close()
    assert len(stored_records(store)) == 1
    assert "w-00000001" in status_of(config)["writers"]["w-00000001"]["error"]


def test_everything_it_makes_is_for_the_owner_alone(tmp_path):
    config, store = ship_config(tmp_path / "data"), FolderStore(tmp_path / "data" / "objects")
    ship_all(config, store)
    writer = open_writer(config.journal)
    call(writer)
    ship_all(config, store)
    writer.close()

    for path in (tmp_path / "data").rglob("*"):
        expected = 0o700 if path.is_dir() else 0o600
        assert (path, stat.S_IMODE(path.stat().st_mode)) == (path, expected)
    assert json.loads(config.status_file.read_text())["state"] == "stopped"
