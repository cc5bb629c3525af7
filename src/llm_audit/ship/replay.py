"""Storing again what lies outside a running system: a journal saved from a dead machine, objects from a backup.

A journal is copied first, and the copy is shipped like any other: what was still open is closed as interrupted,
what cannot be built goes to quarantine, what is in the store already is found there. The original is only read.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from llm_audit.journal.files import segment_names, writer_directories
from llm_audit.journal.recovery import orphans
from llm_audit.record.encoding import sha256_hex
from llm_audit.record.schema import WriterPosition
from llm_audit.record.times import ms_from_iso
from llm_audit.ship.build import BuiltRecord
from llm_audit.ship.folders import private_folder
from llm_audit.ship.notify import Notify, ObjectCreated
from llm_audit.ship.shipper import ShipConfig, Shipper
from llm_audit.ship.status import ShipperStatus
from llm_audit.ship.storing import store_record
from llm_audit.store.keys import object_key
from llm_audit.store.objects import ObjectStore, StoreError

_PATIENCE_S = 10.0 * 365 * 86_400
"""A replay takes as long as it takes: somebody is watching it, and may stop it."""


class NotReplayableError(Exception):
    """This file or folder is nothing that can be replayed; the message says why, and what can."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a replay, in records."""

    stored: int = 0
    found: int = 0
    """Of ``stored``: in the store already."""
    quarantined: int = 0
    problems: tuple[str, ...] = ()
    """One line for each thing that could not be stored, or read."""

    def __add__(self, other: Replayed) -> Replayed:
        """Sum."""
        return Replayed(
            self.stored + other.stored,
            self.found + other.found,
            self.quarantined + other.quarantined,
            self.problems + other.problems,
        )


def writers_in(folder: Path) -> list[Path]:
    """Give the writer directories of a journal, or the folder itself where it is one; [] where it is neither.

    Raises NotReplayableError where a living process writes into one of them: it ships by itself.
    """
    if segment_names(folder):
        journal, found = folder.parent, [folder]
    else:
        journal, found = folder, [path for path in writer_directories(folder) if segment_names(path)]
    free = set(orphans(journal)) if found else set()
    for path in found:
        if path not in free:
            raise NotReplayableError(
                f"{path} is being written by a running llm-audit, which ships it by itself"
            )
    return found


async def replay_journals(
    writers: Sequence[Path],
    store: ObjectStore,
    notify: Notify | None,
    config: ShipConfig,
    *,
    progress: Callable[[ShipperStatus], None] = lambda _: None,
) -> Replayed:
    """Ship copies of these writer directories. Of ``config``, the journal is where the copies go for the time.

    Waits for a store that is away, as the shipper does; cancel it to give up. Raises OSError.
    """
    private_folder(config.journal)
    with tempfile.TemporaryDirectory(prefix="replay-", dir=config.journal) as scratch:
        copy = Path(scratch) / "journal"
        for writer in writers:
            shutil.copytree(writer, copy / writer.name, copy_function=shutil.copyfile)
        stop = asyncio.Event()
        stop.set()
        seen: list[ShipperStatus] = []

        def on_status(status: ShipperStatus) -> None:
            seen[:] = [status]
            progress(status)

        own = replace(config, journal=copy, status_file=Path(scratch) / "status.json", drain_s=_PATIENCE_S)
        await Shipper(own, store, notify, on_status=on_status).run(stop)
        status = seen[-1]
    problems = [writer.error for writer in status.writers.values() if writer.error]
    if status.refused and status.store_error:
        problems.append(f"{status.refused} records are refused by the store: {status.store_error.message}")
    if status.untold:
        problems.append(f"{status.untold} records did not reach the index: {status.index_error}; run reindex")
    return Replayed(status.stored, status.adopted, status.quarantined, tuple(problems))


async def replay_objects(
    files: Iterable[Path], store: ObjectStore, notify: Notify | None, prefix: str
) -> Replayed:
    """Store documents byte for byte under the names that they had."""
    total = Replayed()
    for file in files:
        try:
            built = document_as_built(await asyncio.to_thread(file.read_bytes), prefix)
            storing = await asyncio.to_thread(store_record, store, built)
            row = storing.stored
            if row.sha256 != built.sha256:
                total += Replayed(
                    problems=(f"{file}: the store holds other bytes under {row.key}; left alone",)
                )
                continue
        except (NotReplayableError, StoreError, OSError) as error:
            total += Replayed(problems=(f"{file}: {error}",))
            continue
        total += Replayed(stored=1, found=int(storing.adopted))
        try:
            if notify is not None:
                await notify([ObjectCreated(store.bucket, row.key, row.size, row.sha256)])
        except Exception as error:  # noqa: BLE001 - whatever the index raises, storing goes on
            total += Replayed(problems=(f"{file}: stored, but not in the index: {error}; run reindex",))
    return total


def document_as_built(data: bytes, prefix: str) -> BuiltRecord:
    """Take an object's bytes for what they say they are. Raises NotReplayableError. Pure."""
    try:
        document = orjson.loads(data)
        writer = document["writer"]
        started_at_ms = ms_from_iso(document["startedAt"])
        request_id = document["requestId"]
        return BuiltRecord(
            data=data,
            sha256=sha256_hex(data),
            key=object_key(prefix, started_at_ms, request_id),
            writer=WriterPosition(
                str(writer["id"]), int(writer["boot"]), int(writer["sequence"]), writer["previousSha256"]
            ),
            started_at_ms=started_at_ms,
            ended_at_ms=started_at_ms + int(document["latencyMs"]),
            request_id=request_id,
            prefix=prefix,
            is_stub=False,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotReplayableError(
            f"no audit document ({type(error).__name__}: {str(error)[:100]}); expected a record's JSON"
        ) from None
