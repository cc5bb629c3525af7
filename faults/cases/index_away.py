"""The embedded index locked, gone, damaged or beside documents that are none, under load; then put right.

The index is derived: nothing of it may hold up a call or a record, and ``llm-audit reindex``, run while calls pour in,
makes it equal to the objects again. Locks that go away by themselves need no command at all.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from faults.clock import FastClock, compiler, stop_and_settle
from faults.commands import llm_audit
from faults.index import differences, objects_in, sqlite_items
from faults.load import Load
from faults.objects import compare, read_objects, row
from faults.poison import DOCUMENTS
from faults.reconciling import kinds_found, reconciled
from faults.row import Row, Stage, sentences
from faults.system import System, model_server

Fault = Callable[[System, Load, FastClock | None], list[str]]
LOCKED_S = 120.0
"""Twelve times as long as a writer waits for another."""


def run(stage: Stage) -> Iterator[Row]:
    """Do each to the index; one row each. The short scale does one of them."""
    names = list(FAULTS) if stage.choose(0, 1) else [stage.rng.choice(list(FAULTS))]
    with model_server() as upstream:
        for number, name in enumerate(names):
            yield _row(stage, number, name, upstream)


def _row(stage: Stage, number: int, name: str, upstream: int) -> Row:
    folder = stage.folder / str(number)
    folder.mkdir(parents=True)
    # Only what is waited for needs it: an index that is locked for minutes.
    clock = FastClock.make(folder) if name == LOCKED and compiler() else None
    environ = clock.environ if clock else {}
    settings = {"AUDIT_CLIENT_TIMEOUT": "10m", "AUDIT_DRAIN_TIMEOUT": "10m"} if clock else {}
    with System(folder, environ=environ, settings=settings, upstream=upstream) as system:
        system.wait_until_ready()
        with Load(system.port, stage.rng, 4, pause_s=0.02) as load:
            load.wait_for_answers(stage.choose(30, 300))
            system.wait_for(lambda: bool(_items(system)), "nothing is indexed")
            missed = FAULTS[name](system, load, clock)
            load.wait_for_answers(30)
        stop_and_settle(system)
        poisoned = _take_poison_away(system)
        objects = read_objects(system.objects)
        missed += sentences(differences(objects_in(system.objects), _items(system)).items())
        done = row(name, load.ledger, objects, compare(load.ledger, objects), poisoned)
        return replace(done, findings=(*done.findings, *missed, *reconciled(system, done.records or 0)))


def _index(system: System) -> Path:
    return system.data / "index" / "audit.sqlite3"


def _items(system: System) -> list[dict[str, object]]:
    return [dict(item) for item in sqlite_items(_index(system))]


def _locked(system: System, load: Load, clock: FastClock | None) -> list[str]:
    """Hold SQLite's write lock for minutes, as a backup or a tool of somebody's may."""
    missed = []
    with closing(sqlite3.connect(_index(system), isolation_level=None, timeout=30.0)) as other:
        other.execute("BEGIN IMMEDIATE")
        stored, indexed = _count(system), len(_items(system))
        time.sleep(clock.ours(LOCKED_S) if clock else 15.0)
        if not load.wait_for_answers(20):
            missed.append("calls are not served while the index is locked")
        if _count(system) <= stored:
            missed.append("nothing was stored while the index was locked")
        if len(_items(system)) != indexed:
            missed.append("the index took items while it was locked: nothing was tested")
        if "locked" not in (system.status("shipper").get("indexError") or ""):
            missed.append("the shipper's status does not say that the index is locked")
        other.execute("ROLLBACK")
    return missed


def _removed(system: System, load: Load, _: FastClock | None) -> list[str]:
    """Remove the index's files while they are open."""
    for path in _index(system).parent.glob("audit.sqlite3*"):
        path.unlink(missing_ok=True)
    return _reindexed(system, load)


def _folder_away(system: System, load: Load, _: FastClock | None) -> list[str]:
    """Put a file where the index's folder was: nothing can be opened or made there; then take it away."""
    folder = _index(system).parent
    folder.rename(folder.with_name("index-elsewhere"))
    folder.write_text("no folder")
    stored = _count(system)
    missed = [] if load.wait_for_answers(30) else ["calls are not served while the index is away"]
    system.wait_for(lambda: _count(system) > stored, "nothing is stored while the index is away")
    system.wait_for(
        lambda: bool(system.status("shipper").get("indexError")), "the shipper's status does not say so"
    )
    folder.unlink()
    return missed + _reindexed(system, load)


def _damaged(system: System, load: Load, _: FastClock | None) -> list[str]:
    """Overwrite the middle of the file."""
    with _index(system).open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(4096)
        file.write(b"\xa5" * max(4096, size // 2))
    stored = _count(system)
    missed = [] if load.wait_for_answers(30) else ["calls are not served while the index is damaged"]
    system.wait_for(lambda: _count(system) > stored, "nothing is stored while the index is damaged")
    return missed + _reindexed(system, load, is_readable=False)


def _poisoned(system: System, load: Load, _: FastClock | None) -> list[str]:
    """Lay documents that are none among the objects, and items that no object stands for into the index."""
    day = min((system.objects / key).parent for key in objects_in(system.objects))
    for name, data in DOCUMENTS.items():
        (day / f"{POISON}{name}.json").write_bytes(data)
    with closing(sqlite3.connect(_index(system), isolation_level=None, timeout=30.0)) as other:
        other.execute("UPDATE items SET statusCode = 418 WHERE number % 3 = 0")
        other.execute("DELETE FROM items WHERE number % 3 = 1")
    return _reindexed(system, load)


POISON = "00000000-0000-4000-8000-"


def _take_poison_away(system: System) -> str:
    found = list(system.objects.rglob(f"{POISON}*.json"))
    for path in found:
        path.unlink()
    return f"{len(found)} documents that are none" if found else ""


def _reindexed(system: System, load: Load, *, is_readable: bool = True) -> list[str]:
    """See that ``reconcile`` finds it (where it can be read), and build it anew while calls pour in."""
    missed = []
    load.wait_for_answers(20)
    if is_readable and not kinds_found(system)["item-missing"]:
        missed.append("reconcile misses no item")
    done = llm_audit(system, "reindex")
    if done.code != 0 and "could not be read" not in done.error:
        missed.append(f"reindex ended with {done.code}: {done.error[-300:]}")
    return missed


def _count(system: System) -> int:
    return len(objects_in(system.objects))


LOCKED = "index locked for two minutes by another process"
FAULTS: dict[str, Fault] = {
    LOCKED: _locked,
    "index file removed under load, reindex": _removed,
    "index folder away, reindex": _folder_away,
    "index overwritten, reindex": _damaged,
    "poison among objects, items changed and removed, reindex": _poisoned,
}
