"""The real shipper over a journal that nobody writes, in this process: recover, build, store, and end."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from llm_audit.ship.shipper import ShipConfig, Shipper
from llm_audit.store.folder import FolderStore


def ship_all(journal: Path, objects: Path, *, quarantine: Path | None = None) -> None:
    """Ship everything that is in a journal into a folder of objects."""
    # What goes to quarantine is counted where the objects are read; hundreds of lines would bury the table.
    logging.getLogger("llm_audit.ship").setLevel(logging.CRITICAL)
    stop = asyncio.Event()
    stop.set()
    config = ShipConfig(
        journal=journal,
        quarantine=quarantine or objects.parent / "quarantine",
        status_file=objects.parent / "shipper.json",
        threads=4,
        drain_s=120.0,
    )

    async def ship() -> None:
        await Shipper(config, FolderStore(objects), None).run(stop)

    asyncio.run(ship())
