"""Power cuts: the journal as it was at the last completed sync, and of all later pages any subset, in any order.

A real proxy process serves real clients; its syncs are recorded (``faults.recorder``). Each cut is an image of the
disk at a random instant, which the real recovery and the real shipper then take up.
"""

from __future__ import annotations

import collections
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.clients import Call, Ledger
from faults.load import Load
from faults.objects import Objects, body_of, differences, gaps, is_stub, read_objects
from faults.recorder import RecordedProxy
from faults.row import Row, Stage, sentences
from faults.shipping import ship_all
from faults.system import model_server

CUTS_A_ROUND = 12


@dataclass(slots=True)
class _Sum:
    calls: int = 0
    acknowledged: int = 0
    ended: int = 0
    records: int = 0
    lost: int = 0
    duplicates: int = 0
    gaps: int = 0
    cuts: int = 0
    findings: collections.Counter[str] = field(default_factory=collections.Counter)


def run(stage: Stage) -> Iterator[Row]:
    """Cut again and again; one row for each durability, for they promise different things."""
    with model_server() as upstream:
        for durability, rounds in (("host", stage.choose(1, 30)), ("process", stage.choose(1, 8))):
            total = _Sum()
            for number in range(rounds):
                _round(stage, f"{durability}-{number}", upstream, durability, total)
                if +total.findings:
                    break
            yield _row(durability, total)


def _row(durability: str, total: _Sum) -> Row:
    note = f"{total.cuts} cuts; {total.ended:,} answers had ended at the client"
    if durability == "process":
        note += f"; {total.lost:,} acknowledged calls of the last second before a cut are lost, as this durability says"
    return Row(
        f"power cut, durability {durability}",
        total.calls,
        total.acknowledged,
        total.records,
        total.duplicates,
        total.gaps,
        sentences((+total.findings).items()),
        note,
    )


def _round(stage: Stage, name: str, upstream: int, durability: str, total: _Sum) -> None:
    """Run one proxy, take images of its disk, then see what comes back from each."""
    memory = Path("/dev/shm")  # noqa: S108 - inode numbers are not used again there, and hundreds of images are fast
    scratch = Path(tempfile.mkdtemp(prefix="power-cut-", dir=memory if memory.is_dir() else None))
    try:
        images = _images(scratch, stage.rng, upstream, durability, stage.choose(5, CUTS_A_ROUND))
        for image, ledger in images:
            ship_all(image / "journal", image / "objects")
            _compare(ledger, read_objects(image / "objects"), total, is_host=durability == "host")
            if +total.findings:
                shutil.copytree(scratch, stage.folder / name)
                return
            shutil.rmtree(image)
    finally:
        shutil.rmtree(scratch)


def _images(
    scratch: Path, rng: random.Random, upstream: int, durability: str, cuts: int
) -> list[tuple[Path, Ledger]]:
    proxy = RecordedProxy(scratch / "proxy", upstream, durability)
    images = []
    process, port = proxy.start()
    try:
        with Load(port, rng, 16) as load:
            load.wait_for_answers(5)
            for number in range(cuts):
                load.wait_for_calls(rng.randrange(1, 40))
                image = scratch / f"image-{number}"
                before = load.ledger.copy()
                proxy.cut(image / "journal" / proxy.writer.name, rng)
                images.append((image, before))
    finally:
        process.communicate(timeout=60)
    return images


def _compare(ledger: Ledger, objects: Objects, total: _Sum, *, is_host: bool) -> None:
    total.cuts += 1
    total.calls += len(ledger.calls)
    total.acknowledged += ledger.acknowledged
    total.ended += ledger.whole
    total.records += objects.count
    broken = gaps(objects.places)
    total.gaps += broken.total()
    total.findings += broken
    for call in ledger.calls:
        found = objects.records.get(call.request_id, [])
        total.duplicates += len(found) > 1
        total.findings["recorded twice"] += len(found) > 1
        if call.status is None:
            continue
        if not found or (not is_host and is_stub(found[0])):
            total.lost += 1
            total.findings["acknowledged and gone"] += is_host
        elif call.ended and (is_host or found[0]["outcome"] == "complete"):
            total.findings.update(differences(call, found[0]))
        elif is_host:
            total.findings.update(_of_an_open_call(call, found[0]))


def _of_an_open_call(call: Call, record: dict[str, Any]) -> list[str]:
    """Its request was synced before it went upstream; of its answer, what was received may be recorded only in part."""
    asked = body_of(record["request"])
    answered = body_of(record["response"])
    found = [] if asked == call.sent else ["a request that is gone or recorded otherwise"]
    if not answered.startswith(call.content) and not call.content.startswith(answered):
        found.append("received bytes that are recorded otherwise")
    return found
