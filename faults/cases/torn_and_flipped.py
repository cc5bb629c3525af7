"""A small journal, torn at every byte, and with a bit flipped in every byte: at most the exchange hit goes to quarantine."""

from __future__ import annotations

import collections
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from faults.clients import Call, Ledger
from faults.load import Load
from faults.objects import Objects, differences, gaps, is_stub, read_objects
from faults.recorder import RecordedProxy
from faults.row import Row, Stage, sentences
from faults.shipping import ship_all
from faults.system import model_server

BODIES = (
    b'{"model":"m","messages":[{"role":"user","content":"Count to 2"}],"stream":true}',
    b'{"model":"m","messages":[{"role":"user","content":"Count to 2"}]}',
)
HEADER = 64
"""Bytes of a segment before its first frame."""


def run(stage: Stage) -> Iterator[Row]:
    """Make a journal with a few calls, the last ones cut short by SIGKILL; damage it everywhere, ship each time."""
    memory = Path("/dev/shm")  # noqa: S108 - thousands of small journals
    scratch = Path(tempfile.mkdtemp(prefix="torn-", dir=memory if memory.is_dir() else None))
    try:
        with model_server(20.0) as upstream:
            journal, ledger = _make(scratch / "made", upstream, stage.rng)
        segment = max((journal / "w-00000001").glob("*.seg"), key=_used)
        used = _used(segment)
        step = stage.choose(max(1, used // 25), 1)
        start = stage.rng.randrange(step)
        yield _torn(scratch, journal, segment.name, ledger, range(HEADER + start, used + 1, step))
        yield _flipped(stage, scratch, journal, segment.name, ledger, range(start, used, step))
    finally:
        shutil.rmtree(scratch)


def _used(segment: Path) -> int:
    return len(segment.read_bytes().rstrip(b"\0"))


def _make(folder: Path, upstream: int, rng: random.Random) -> tuple[Path, Ledger]:
    proxy = RecordedProxy(folder, upstream, "process", limit=8 << 20)
    process, port = proxy.start()
    try:
        with Load(port, rng, 1, bodies=BODIES) as load:
            load.wait_for_answers(2)
            process.kill()
    finally:
        process.kill()
        process.communicate()
    return folder / "journal", load.ledger


def _torn(scratch: Path, journal: Path, name: str, ledger: Ledger, places: range) -> Row:
    """Let the writer die in the middle of a copy: what follows the place was never written."""
    total = _Sum(ledger)

    def tear(at: int) -> Callable[[bytearray], None]:
        def damage(data: bytearray) -> None:
            data[at:] = bytes(len(data) - at)

        return damage

    for objects in _all_damaged(scratch, journal, name, [tear(at) for at in places]):
        total.take(objects)
        total.findings["torn, and not as if it had never been written"] += objects.quarantined
    return total.row(f"torn at {len(places):,} of {places.stop - 1:,} bytes")


def _flipped(stage: Stage, scratch: Path, journal: Path, name: str, ledger: Ledger, places: range) -> Row:
    """Turn one bit: all calls but the one that it is part of must be as they were."""
    [undamaged] = _all_damaged(scratch, journal, name, [lambda _: None])
    expected = {key: _essence(records[0]) for key, records in undamaged.records.items()}
    data = (journal / "w-00000001" / name).read_bytes()[: places.stop]
    last_frame = data.rfind(data[10:18])  # the segment's marker, with which every frame begins
    total = _Sum(ledger)

    def flip(at: int) -> Callable[[bytearray], None]:
        bit = 1 << stage.rng.randrange(8)

        def damage(data: bytearray) -> None:
            data[at] ^= bit

        return damage

    damaged = _all_damaged(scratch, journal, name, [flip(at) for at in places])
    for at, objects in zip(places, damaged, strict=True):
        total.take(objects)
        found = {key: _essence(records[0]) for key, records in objects.records.items()}
        spoiled = [key for key in expected if found.get(key) != expected[key]]
        total.findings["one bit spoiled more than one exchange"] += len(spoiled) > 1
        # The last frame of all may be one that its writer never finished; nothing tells a flipped bit from that.
        lost = objects.count != undamaged.count and at < last_frame
        total.findings["one bit, and a sequence is missing"] += lost
        total.spoiled += bool(spoiled)
    return total.row(f"a bit flipped in {len(places):,} of {places.stop:,} bytes")


def _essence(record: dict[str, object]) -> tuple[object, ...]:
    return tuple(
        record[name] for name in ("outcome", "statusCode", "request", "response", "error", "startedAt")
    )


def _all_damaged(
    scratch: Path, journal: Path, name: str, damages: Sequence[Callable[[bytearray], None]]
) -> Iterator[Objects]:
    """Damage a copy of the journal in each way, recover and ship it; gives the objects of each."""

    def one(numbered: tuple[int, Callable[[bytearray], None]]) -> Objects:
        return _damaged(scratch / f"damaged-{numbered[0]}", journal, name, numbered[1])

    with ThreadPoolExecutor(4) as pool:
        yield from pool.map(one, enumerate(damages))


def _damaged(folder: Path, journal: Path, name: str, damage: Callable[[bytearray], None]) -> Objects:
    shutil.copytree(journal, folder / "journal", copy_function=_copy_sparse)
    path = folder / "journal" / "w-00000001" / name
    with path.open("r+b") as file:
        data = bytearray(file.read(_WINDOW))
        damage(data)
        file.seek(0)
        file.write(data)
    ship_all(folder / "journal", folder / "objects")
    objects = read_objects(folder / "objects")
    shutil.rmtree(folder)
    return objects


_WINDOW = 1 << 16
"""The journal's used part is smaller than that."""


def _copy_sparse(source: str, to: str) -> None:
    """Copy what is used; the rest are zeros anyway."""
    with Path(source).open("rb") as file, Path(to).open("wb") as copy:
        copy.write(file.read(_WINDOW))
        copy.truncate(Path(source).stat().st_size)


class _Sum:
    """What came of all damaged copies."""

    def __init__(self, ledger: Ledger) -> None:
        self._calls = [call for call in ledger.calls if call.status is not None]
        self._copies = 0
        self._records = 0
        self._duplicates = 0
        self._gaps = 0
        self._stubs = 0
        self.spoiled = 0
        self.findings = collections.Counter[str]()

    def take(self, objects: Objects) -> None:
        """Look at one copy's objects."""
        self._copies += 1
        self._records += objects.count
        broken = gaps(objects.places)
        self._gaps += broken.total()
        self.findings += broken
        twice = sum(len(records) > 1 for records in objects.records.values())
        self._duplicates += twice
        self.findings["recorded twice"] += twice
        self._stubs += objects.quarantined
        for call in self._calls:
            self._hold_against(call, objects)

    def _hold_against(self, call: Call, objects: Objects) -> None:
        """Require that what says of itself that it is complete is what the client saw."""
        for record in objects.records.get(call.request_id, []):
            if record["outcome"] == "complete" and not is_stub(record):
                self.findings.update(differences(call, record))

    def row(self, fault: str) -> Row:
        """Make the row; every copy counts as a run of all its calls."""
        note = f"{self._copies:,} copies of {len(self._calls)} calls, {self._stubs:,} exchanges in quarantine"
        if self.spoiled:
            note += f"; {self._copies - self.spoiled:,} flips changed no record at all"
        calls = self._copies * len(self._calls)
        found = sentences((+self.findings).items())
        return Row(fault, calls, calls, self._records, self._duplicates, self._gaps, found, note)
