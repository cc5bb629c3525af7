"""A real shipper process, killed again and again: nothing is lost and nothing is stored twice."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest

from faults.scripted_store import LATE_ANSWER, OK, scripted_store
from journal_traffic import begin_call, call, end_call, open_writer
from llm_audit.ship.line import CAUTION
from llm_audit.store.folder import FolderStore
from ship_running import assert_whole_chain, ship_all, ship_config, stored_records

PROGRAM = """
import asyncio, sys
from pathlib import Path
from llm_audit.store.opening import open_store
from llm_audit.ship.shipper import Shipper
from ship_running import ship_config

told = Path(sys.argv[1]) / "told"

async def notify(batch):
    with told.open("a") as file:
        file.writelines(created.key + "\\n" for created in batch)

config = ship_config(Path(sys.argv[1]), window_bytes=1 << 20)
shipper = Shipper(config, open_store(sys.argv[2]), notify)
asyncio.run(shipper.run(asyncio.Event()))
"""


@contextmanager
def shipper_process(folder: Path, store: str, **environ: str):
    """Run a shipper in a process of its own; it is killed when the block is left."""
    path = os.pathsep.join(sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), store],
        env=dict(os.environ, PYTHONPATH=path, **environ),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def assert_lives_on(process: subprocess.Popen) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.02)


def count(store: FolderStore) -> int:
    return sum(1 for _ in store.list("logs"))


def test_a_shipper_killed_again_and_again_stores_every_call_once(tmp_path):
    config, store = ship_config(tmp_path), FolderStore(tmp_path / "objects")
    writer = open_writer(config.journal, limit=16 << 20)
    luck = random.Random(7)
    same = [uuid.uuid4() for _ in range(3)]
    slow = begin_call(writer, "slow")
    calls = 0
    for life in range(6):
        wanted = min(calls, count(store)) + luck.randrange(1, 60)
        with shipper_process(tmp_path, store.bucket) as process:
            while count(store) < wanted:
                if calls - count(store) > 60:
                    assert_lives_on(process)
                    continue
                call(
                    writer,
                    f"call {calls}",
                    request_id=luck.choice([None, None, None, *same]),
                    pad=luck.choice([0, 0, 30_000]),
                )
                calls += 1
        if life == 4:
            end_call(slow)
            calls += 1
            slow = begin_call(writer, "never ends")
    writer.close()
    told = []

    async def notify(batch):
        told.extend(created.key for created in batch)

    ship_all(config, store, notify)

    records = stored_records(store)
    assert_whole_chain(records)
    assert len(records) == calls + 1
    assert records[-1]["outcome"] == "interrupted"
    assert len({record["promptPreview"] for record in records}) == calls + 1
    known = {record["key"] for record in records}
    assert set(told) | set((tmp_path / "told").read_text().split()) == known
    assert not list(config.quarantine.glob("*"))


def test_a_shipper_killed_between_put_and_ledger_adopts_what_it_had_stored(tmp_path):
    config = ship_config(tmp_path)
    writer = open_writer(config.journal)
    same = uuid.uuid4()
    with scripted_store() as server:
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
        endpoint = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_address[1]}"}
        for _ in range(CAUTION):
            call(writer)
        with shipper_process(tmp_path, "audit", **keys, **endpoint):
            for _ in range(CAUTION):
                assert server.arrived.acquire(timeout=60)
            server.mode = LATE_ANSWER
            for n in range(4):
                call(writer, request_id=same if n == 2 else None)
            for _ in range(4):
                assert server.stored_unanswered.acquire(timeout=60)
        server.mode = OK
        stored_by_first = dict(server.objects)
        call(writer, "after", request_id=same)

        ship_all(config, server.opened())

        writer.close()
        objects = server.objects
    assert len(stored_by_first) == CAUTION + 4
    assert len(objects) == CAUTION + 5
    assert {key: objects[key] for key in stored_by_first} == stored_by_first
