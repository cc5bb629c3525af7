"""What the shipper says of itself, for ``/health``, ``doctor``, metrics and people: one small JSON file."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from llm_audit.ship.folders import private_folder
from llm_audit.ship.putters import Putters, Settled, Trouble


@dataclass(frozen=True, slots=True)
class WriterStatus:
    """One writer's journal."""

    journal_bytes: int
    """Bytes that its files occupy."""
    open_exchanges: int
    """Calls that have begun and not ended."""
    unshipped: int
    """Exchanges that ended, were read and are not stored; more may lie unread."""
    boot: int | None
    sequence: int | None
    """Everything up to this boot and sequence is stored; None before the first."""
    error: str | None
    """Why its journal cannot be read at the moment."""


@dataclass(frozen=True, slots=True)
class ShipperStatus:
    """The whole shipper. Times are milliseconds since the epoch (``*At``) or lengths (``*Ms``)."""

    pid: int
    state: str
    """``shipping``, ``stopping`` or ``stopped``."""
    started_at: int
    updated_at: int
    stored: int
    """Records stored since the start, those among them that were found there already included."""
    adopted: int
    conflicts: int
    """Records whose plain name belonged to another exchange."""
    quarantined: int
    """Stubs stored since the start."""
    refused: int
    """Records that the store takes for no length of waiting (see ``store_error``)."""
    broken_links: int
    """Records whose predecessor lies in the store with another digest than they name (two versions at once)."""
    backlog_bytes: int
    backlog_age_ms: int
    """How long ago the oldest exchange ended that was read and is not stored; 0 where there is none."""
    lag_ms: int | None
    """End of an exchange to its record's being stored, the latest; None before the first."""
    untold: int
    """Stored records that the index was not told of yet."""
    store_errors: int
    store_error: Trouble | None
    ledger_error: str | None
    index_error: str | None
    digest_error: str | None
    """Why digests are not made or not put at the moment; records are stored all the same."""
    writers: dict[str, WriterStatus] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """What the shipper counts as it goes; its meaning is in ``ShipperStatus``."""

    started_at: int
    stored: int = 0
    adopted: int = 0
    conflicts: int = 0
    quarantined: int = 0
    broken_links: int = 0
    lag_ms: int | None = None
    ledger_error: str | None = None
    refusal: str | None = None

    def count(self, settled: Settled, *, is_whole: bool) -> None:
        """Count one stored record."""
        assert settled.storing is not None
        built = settled.job.built
        self.stored += 1
        self.adopted += settled.storing.adopted
        self.conflicts += settled.storing.stored.key != built.key
        self.quarantined += built.is_stub
        self.broken_links += not is_whole
        self.lag_ms = max(0, _now_ms() - built.ended_at_ms)


def report(
    tally: Tally,
    *,
    state: str,
    writers: dict[str, WriterStatus],
    untold: int,
    putters: Putters,
    oldest_ended_at: int | None,
    refused: int,
    index_error: str | None,
    digest_error: str | None,
) -> ShipperStatus:
    """Put the status together, as of now."""
    now = _now_ms()
    trouble = putters.trouble
    if trouble is None and refused and tally.refusal is not None:
        trouble = Trouble(tally.refusal, refused, now)
    return ShipperStatus(
        pid=os.getpid(),
        state=state,
        started_at=tally.started_at,
        updated_at=now,
        stored=tally.stored,
        adopted=tally.adopted,
        conflicts=tally.conflicts,
        quarantined=tally.quarantined,
        refused=refused,
        broken_links=tally.broken_links,
        backlog_bytes=sum(writer.journal_bytes for writer in writers.values()),
        backlog_age_ms=0 if oldest_ended_at is None else max(0, now - oldest_ended_at),
        lag_ms=tally.lag_ms,
        untold=untold,
        store_errors=putters.error_count,
        store_error=trouble,
        ledger_error=tally.ledger_error,
        index_error=index_error,
        digest_error=digest_error,
        writers=writers,
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def write_status(path: Path, status: ShipperStatus) -> None:
    """Replace the file in one step; not synced, since it speaks of a moment. Raises OSError."""
    private_folder(path.parent)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps(_camel(asdict(status)), option=orjson.OPT_INDENT_2))
    temporary.replace(path)


def _camel(value: dict[str, object]) -> dict[str, object]:
    """Give the contract's member names; writers' ids stay as they are."""
    named = {}
    for name, member in value.items():
        first, *rest = name.split("_")
        camel = name if name.startswith("w-") else first + "".join(word.capitalize() for word in rest)
        named[camel] = _camel(member) if isinstance(member, dict) else member
    return named
