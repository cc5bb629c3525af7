"""Any order of calls, deaths, recoveries, puts, lost answers, notifications and freeing: each call ends once, as one object.

Real journals, a real shipper and a real folder of objects; only the shipper's threads are played by hand, so that
Hypothesis chooses which put happens when, and how it ends, and at which crash point the shipper dies. A shipper that is
started again may be of another version, which puts the same record in other words. What must hold, whatever the order:

- an object never changes; a place of the chain has one object;
- in the end each call that was begun has exactly one object, sequences have no gap, the chain of digests is unbroken,
  the index was told of every object, and the journal is empty.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import tempfile
import uuid
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import llm_audit.ship.line as line_module
import llm_audit.ship.shipper as shipper_module
from journal_traffic import begin_call, end_call, open_writer
from llm_audit.journal import crash
from llm_audit.journal.writer import JournalWriter, OpenExchange
from llm_audit.record.encoding import sha256_hex
from llm_audit.ship.build import BuiltRecord, build
from llm_audit.ship.putters import Job, Settled
from llm_audit.ship.shipper import Shipper
from llm_audit.ship.storing import store_record
from llm_audit.store.folder import FolderStore
from llm_audit.store.objects import ObjectMissingError, ObjectRefusedError, Put, StoreUnavailableError
from ship_running import assert_whole_chain, ship_config, stored_records

SEEDS = st.integers(0, 2**32).map(random.Random)
WRITERS = ("w-00000001", "w-00000002")
SAME = [uuid.UUID(int=number, version=4) for number in range(2)]
WINDOW = 3
"""Records out at a time, and the length of caution: small, so that few calls are enough to pass both."""

pytestmark = pytest.mark.timeout(600)  # many stories in one test, on whatever machine there is

FATES = ("done", "done", "done", "away", "answer lost", "late", "conflict", "refused")


class Died(BaseException):
    """The shipper died at a crash point."""


class Moody:
    """A folder of objects that does what its ``fate`` says: works, is away, works and does not say so."""

    def __init__(self, folder: FolderStore) -> None:
        self.folder = folder
        self.bucket = folder.bucket
        self.fate = "done"
        self.on_their_way: list[tuple[str, bytes]] = []
        """Puts that will arrive, though whoever made them has stopped waiting."""

    def put_new(self, key: str, data: bytes) -> Put:
        fate, self.fate = self.fate, "done"
        if fate == "away":
            raise StoreUnavailableError("it is away")
        if fate == "refused":
            raise ObjectRefusedError("it is too large")
        if fate == "late":
            self.on_their_way.append((key, data))
            raise StoreUnavailableError("no answer in time")
        if fate == "conflict":  # of two puts at once, S3 answers 409 to one
            return Put.EXISTS
        put = self.folder.put_new(key, data)
        if fate == "answer lost":
            raise StoreUnavailableError("the answer was lost")
        return put

    def get_head(self, key: str, limit: int) -> bytes:
        return self.folder.get_head(key, limit)

    def stream(self, key: str):
        return self.folder.stream(key)


class Hands:
    """The shipper's threads, played by hand: a job is done when it is asked for. Has what ``Putters`` has."""

    trouble, error_count = None, 0

    def __init__(self, store: Moody) -> None:
        self.store = store
        self.jobs: list[Job] = []
        self.settled: deque[Settled] = deque()

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def take_settled(self) -> list[Settled]:
        taken = list(self.settled)
        self.settled.clear()
        return taken

    def work(self, number: int, fate: str) -> None:
        job = self.jobs[number]
        self.store.fate = fate
        try:
            settled = Settled(job, store_record(self.store, job.built))
        except ObjectRefusedError as error:
            settled = Settled(job, None, str(error))
        except (StoreUnavailableError, ObjectMissingError):
            return  # it asks again, later
        finally:
            self.store.fate = "done"
        del self.jobs[number]
        self.settled.append(settled)


@dataclass
class Call:
    """One call: what it said, and whether it ended."""

    text: str
    writer: str
    exchange: OpenExchange | None
    has_ended: bool = False


class ShipperMachine(RuleBasedStateMachine):
    """One journal of two writers, its shipper, and the objects."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="machine-", dir=memory if memory.is_dir() else None))
        self.config = ship_config(self.folder)
        self.store = Moody(FolderStore(self.folder / "objects"))
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(crash, "point", self.pass_point)
        self.patch.setattr(shipper_module, "build", self.build_as_this_version)
        self.patch.setattr(shipper_module, "WINDOW_RECORDS", WINDOW)
        self.patch.setattr(line_module, "CAUTION", WINDOW)
        self.dies_at: str | None = None
        self.version = 0
        self.now = 0.0
        self.writers: dict[str, JournalWriter] = {}
        self.calls: list[Call] = []
        self.objects: dict[str, str] = {}
        self.told: set[str] = set()
        self.index_is_away = False
        self.holds_the_ledger: sqlite3.Connection | None = None
        self.shipper: Shipper | None = None
        self.hands: Hands

    def pass_point(self, name: str) -> None:
        if name == self.dies_at:
            self.dies_at = None
            raise Died

    def build_as_this_version(self, ended, previous_sha256: str | None, note) -> BuiltRecord:
        built = build(ended, previous_sha256, note)
        data = built.data.replace(b'"proxyVersion":"0.1.0"', b'"proxyVersion":"0.1.%d"' % self.version)
        return built._replace(data=data, sha256=sha256_hex(data))

    @initialize()
    def begin(self) -> None:
        for name in WRITERS:
            self.open_writer(name)
        self.start(is_another_version=False)

    # --- the proxies ---------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(WRITERS))
    def open_writer(self, name: str) -> None:
        if name not in self.writers:
            self.writers[name] = open_writer(self.config.journal, writer=name, limit=8 << 20)

    @precondition(lambda self: self.writers)
    @rule(pick=SEEDS, same=st.sampled_from([None, None, *SAME]), pad=st.sampled_from([0, 0, 200_000]))
    def begin_call(self, pick: random.Random, same: uuid.UUID | None, pad: int) -> None:
        name = pick.choice(sorted(self.writers))
        writer = self.writers[name]
        writer._spares.wait(60)
        if writer.has_room(pad + 8192):
            text = f"call {len(self.calls)}"
            exchange = begin_call(
                writer, text, request_id=same or uuid.UUID(int=pick.getrandbits(128)), pad=pad
            )
            self.calls.append(Call(text, name, exchange))

    @rule(pick=SEEDS, all_of_them=st.booleans())
    def end_call(self, *, pick: random.Random, all_of_them: bool) -> None:
        living = [call for call in self.calls if call.exchange is not None]
        for call in living if all_of_them or not living else [pick.choice(living)]:
            writer = self.writers[call.writer]
            writer._spares.wait(60)
            if writer.has_room(8192):
                end_call(call.exchange, f"answer to {call.text}")
                call.exchange, call.has_ended = None, True

    @rule(count=st.integers(1, 5), pick=SEEDS, same=st.sampled_from([None, *SAME]))
    def whole_calls(self, count: int, pick: random.Random, same: uuid.UUID | None) -> None:
        for _ in range(count):
            if self.writers:
                self.begin_call(pick, same, 0)
                self.end_call(pick=pick, all_of_them=True)

    @precondition(lambda self: self.writers)
    @rule(pick=SEEDS)
    def next_segment(self, pick: random.Random) -> None:
        writer = self.writers[pick.choice(sorted(self.writers))]
        if writer._spares.wait(60):
            writer._roll()

    @precondition(lambda self: self.writers)
    @rule(pick=SEEDS, is_killed=st.booleans())
    def end_writer(self, *, pick: random.Random, is_killed: bool) -> None:
        name = pick.choice(sorted(self.writers))
        writer = self.writers.pop(name)
        writer._spares.wait(60)
        if is_killed:
            writer._on_failure = lambda _: None
            writer.fail(RuntimeError("killed"))
        writer.close()
        for call in self.calls:
            if call.writer == name:
                call.exchange = None

    # --- the shipper ---------------------------------------------------------------------------------------

    @precondition(lambda self: self.shipper is None)
    @rule(is_another_version=st.booleans())
    def start(self, *, is_another_version: bool) -> None:
        self.the_ledger_can_be_written()
        self.version += is_another_version and self.nothing_was_overtaken()
        self.shipper = Shipper(self.config, self.store, self.notify)
        self.shipper._putters = self.hands = Hands(self.store)
        self.shipper._ledger._db.execute("PRAGMA busy_timeout = 0")

    def nothing_was_overtaken(self) -> bool:
        """Whether each stored record's predecessor is stored: if not, no other words can be found for that one."""
        records = stored_records(self.store.folder)
        there = {None, *(record["sha256"] for record in records)}
        return not self.store.on_their_way and all(
            record["writer"]["previousSha256"] in there for record in records
        )

    @precondition(lambda self: self.shipper is not None)
    @rule()
    def the_ledger_cannot_be_written(self) -> None:
        if self.holds_the_ledger is None:
            self.holds_the_ledger = sqlite3.connect(
                self.config.journal / "ledger.sqlite3", isolation_level=None
            )
            self.holds_the_ledger.execute("BEGIN IMMEDIATE")

    @rule()
    def the_ledger_can_be_written(self) -> None:
        if self.holds_the_ledger is not None:
            self.holds_the_ledger.close()
            self.holds_the_ledger = None

    async def notify(self, batch) -> None:
        if self.index_is_away:
            raise OSError("the index is away")
        self.told.update(created.key for created in batch)

    @precondition(lambda self: self.shipper is not None)
    @rule()
    def kill(self) -> None:
        """SIGKILL: what its threads have done and nobody has noted is forgotten."""
        assert self.shipper is not None
        self.shipper._writers.close()
        self.shipper._ledger.close()
        self.shipper._lock.release()
        self.shipper = None

    @precondition(lambda self: self.shipper is not None)
    @rule(
        seconds=st.sampled_from([0.1, 2.0, 2.0, 60.0]),
        dies_at=st.sampled_from(
            [*[None] * 12, "after-ledger", "carry-written", "carry-named", "before-delete", "segment-deleted",
             "recovery-written", "recovery-named"]
        ),
    )  # fmt: skip
    def turn(self, seconds: float, dies_at: str | None) -> None:
        assert self.shipper is not None
        self.now += seconds
        self.dies_at = dies_at
        try:
            self.shipper._turn(self.now)
        except Died:
            self.kill()
        self.dies_at = None

    @precondition(lambda self: self.shipper is not None and self.hands.jobs)
    @rule(pick=SEEDS, fate=st.sampled_from(FATES))
    def put(self, pick: random.Random, fate: str) -> None:
        self.hands.work(pick.randrange(len(self.hands.jobs)), fate)

    @precondition(lambda self: self.store.on_their_way)
    @rule(pick=SEEDS)
    def a_late_put_arrives(self, pick: random.Random) -> None:
        late = self.store.on_their_way
        self.store.folder.put_new(*late.pop(pick.randrange(len(late))))

    @precondition(lambda self: self.shipper is not None)
    @rule(is_away=st.booleans())
    def tell(self, *, is_away: bool) -> None:
        self.index_is_away = is_away
        if self.holds_the_ledger is not None:
            return  # what was told cannot be noted down
        asyncio.run(self.shipper._notifier.finish())

    @precondition(lambda self: self.shipper is not None)
    @rule(pick=SEEDS)
    def ship_for_a_while(self, pick: random.Random) -> None:
        for _ in range(6):
            self.turn(2.0, None)
            while self.hands.jobs:
                self.hands.work(pick.randrange(len(self.hands.jobs)), "done")

    # --- what must hold ------------------------------------------------------------------------------------

    @invariant()
    def objects_stay_as_they_are(self) -> None:
        found = {
            entry.key: sha256_hex(self.store.folder.get(entry.key)) for entry in self.store.folder.list()
        }
        assert self.objects.items() <= found.items()
        self.objects = found

    def overtaken(self) -> None:
        """Past all caution, the last put of some is the first that is done."""
        self.the_ledger_can_be_written()
        for _ in range(2):
            self.whole_calls(WINDOW + 1, random.Random(0), None)
            self.ship_for_a_while(random.Random(0))
        self.whole_calls(WINDOW, random.Random(0), None)
        self.turn(2.0, None)
        if self.hands.jobs:
            self.hands.work(len(self.hands.jobs) - 1, "done")
        self.turn(2.0, None)

    def unknown_to_the_ledger(self) -> None:
        """Stored, and nobody could note it down."""
        self.whole_calls(2, random.Random(0), None)
        self.next_segment(random.Random(0))
        self.the_ledger_cannot_be_written()
        self.ship_for_a_while(random.Random(0))

    def teardown(self) -> None:
        try:
            self.end_of_the_story()
        finally:
            if self.shipper is not None:
                self.kill()
            while self.writers:
                self.end_writer(pick=random.Random(0), is_killed=True)
            self.the_ledger_can_be_written()
            self.patch.undo()
            shutil.rmtree(self.folder)

    def end_of_the_story(self) -> None:
        """Come to a promise once more, kill the shipper right behind it; then ship all that there is."""
        self.open_writer(WRITERS[0])
        if self.shipper is None:
            self.start(is_another_version=False)
        [self.overtaken, self.unknown_to_the_ledger][len(self.calls) % 2]()
        self.kill()
        while self.writers:
            self.end_writer(pick=random.Random(0), is_killed=True)
        self.start(is_another_version=True)
        while self.store.on_their_way:
            self.a_late_put_arrives(random.Random(0))
        quiet = 0
        while quiet < 3:
            self.turn(4000.0, None)
            quiet = 0 if self.hands.jobs or self.hands.settled else quiet + 1
            while self.hands.jobs:
                self.hands.work(0, "done")
        self.tell(is_away=False)
        self.objects_stay_as_they_are()
        records = stored_records(self.store.folder)
        assert_whole_chain(records)
        said = [
            (record["promptPreview"].removeprefix("user: "), record["outcome"] == "complete")
            for record in records
        ]
        assert sorted(said) == sorted((call.text, call.has_ended) for call in self.calls)
        for record in records:
            text = record["promptPreview"].removeprefix("user: ")
            assert record["responsePreview"] == (
                f"answer to {text}" if record["outcome"] == "complete" else None
            )
        assert self.told == self.objects.keys(), "the index was not told, or of what is not there"
        left = [path.name for path in self.config.journal.glob("w-*/*") if path.suffix in {".seg", ".carry"}]
        assert left == [], f"all is stored, and {left} stays"
        assert self.shipper._tally.broken_links == 0
        with suppress(FileNotFoundError):
            assert list(self.config.quarantine.iterdir()) == []


ShipperMachine.TestCase.settings = settings(
    max_examples=30, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)
test_each_call_ends_once_as_one_object_in_whatever_order_things_happen = ShipperMachine.TestCase
