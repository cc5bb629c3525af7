"""A shipper running in a test's own event loop, and questions to what it left in the store."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path

from llm_audit.ship.retry import RetryPolicy
from llm_audit.ship.shipper import ShipConfig, Shipper

QUICK = RetryPolicy(base_s=0.001, cap_s=0.02)


def ship_config(folder: Path, **changes) -> ShipConfig:
    fields = {
        "journal": folder / "journal",
        "quarantine": folder / "quarantine",
        "status_file": folder / "status" / "shipper.json",
        "threads": 4,
        "poll_s": 0.002,
        "status_every_s": 0.01,
        "orphan_after_s": 0.0,
        "drain_s": 60.0,
        "retry": QUICK,
    }
    return ShipConfig(**(fields | changes))


async def until(condition: Callable[[], bool]) -> None:
    """Look again and again, giving way in between; the test's time limit ends what never comes true."""
    while not condition():
        await asyncio.sleep(0.002)


@asynccontextmanager
async def shipping(config: ShipConfig, store, notify=None):
    """Run a shipper until the block is left, then stop it cleanly."""
    stop = asyncio.Event()
    shipper = Shipper(config, store, notify)
    running = asyncio.create_task(shipper.run(stop))
    try:
        await until(lambda: config.status_file.exists() or running.done())
        yield shipper
    finally:
        stop.set()
        await running


def ship_all(config: ShipConfig, store, notify=None) -> None:
    """Start, ship what is there, stop."""

    async def scenario() -> None:
        async with shipping(config, store, notify):
            pass

    asyncio.run(scenario())


def stored_records(store) -> list[dict]:
    """Give every record in the store, in order of writer, boot and sequence, with ``key`` and ``sha256`` added."""
    records = []
    for entry in store.list():
        data = store.get(entry.key)
        record = json.loads(data)
        records.append(record | {"key": entry.key, "sha256": hashlib.sha256(data).hexdigest()})
    return sorted(records, key=lambda r: (r["writer"]["id"], r["writer"]["boot"], r["writer"]["sequence"]))


def assert_whole_chain(records: list[dict]) -> None:
    """Each writer's records are gapless, each boot from 0, and each names the digest of the one before."""
    before: dict[str, dict] = {}
    for record in records:
        writer = record["writer"]
        last = before.get(writer["id"])
        if last is None:
            assert writer["previousSha256"] is None
            assert writer["sequence"] == 0
        else:
            assert writer["previousSha256"] == last["sha256"]
            if writer["boot"] == last["writer"]["boot"]:
                assert writer["sequence"] == last["writer"]["sequence"] + 1
            else:
                assert writer["sequence"] == 0
        before[writer["id"]] = record


def status_of(config: ShipConfig) -> dict:
    return json.loads(config.status_file.read_text())
