"""Any order of append, sync, roll, death, power cut, recovery, reading, storing and freeing: nothing is lost.

Hypothesis chooses the order, and at which crash point something dies; a plain model says what must be there:

- each call has one place, and a place that was once given out, or recovered, says the same for ever;
- places have no gap; a journal of which all is stored is empty;
- after a SIGKILL everything is there that was appended; after a power cut, what a sync had covered; what ended is whole,
  what was open ends as ``interrupted``.
"""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from journal_kit import Call, open_writer, roll, segment_files, start_of
from llm_audit.journal import crash, frames, recovery, syncer
from llm_audit.journal import writer as writer_module
from llm_audit.journal.files import locked
from llm_audit.journal.frames import Kind
from llm_audit.journal.model import Durability, EndedExchange
from llm_audit.journal.reader import WriterReader
from llm_audit.journal.writer import JournalWriter, OpenExchange
from llm_audit.record.schema import Outcome
from simulated_disk import SimulatedDisk

NO_DICE = random.Random(0)
SEEDS = st.integers(0, 2**32).map(random.Random)
SIZES = st.sampled_from([1, 40, 700, 700, 4096, 4096, 9000, 9000, 20_000, 300_000])


def deaths(*points: str) -> st.SearchStrategy[str | None]:
    """At which crash point a process dies on its way: mostly at none."""
    return st.sampled_from([None] * 3 * len(points) + list(points))


pytestmark = pytest.mark.timeout(600)  # many stories in one test, on whatever machine there is

Place = tuple[int, int]


class Died(BaseException):
    """A process died at a crash point."""


class Least(NamedTuple):
    """What must be left of a call, in bytes of its bodies; -1 of the request: it may be gone."""

    request: int = -1
    response: int = 0
    has_ended: bool = False


NOTHING = Least()


class Content(NamedTuple):
    """What a place says."""

    name: str | None
    request: bytes
    response: tuple[bytes, ...]
    outcome: Outcome | None
    damage: str | None


@dataclass
class Told:
    """What was appended of one call, and of that, what a sync has covered."""

    boot: int
    exchange: OpenExchange | None = None
    request: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    is_answered: bool = False
    has_ended: bool = False
    durable: Least = NOTHING
    power_failed: bool = False

    @property
    def response(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def all(self) -> Least:
        return Least(len(self.request), len(self.response), self.has_ended)

    @property
    def least(self) -> Least:
        return self.durable if self.power_failed else self.all


class JournalMachine(RuleBasedStateMachine):
    """One writer directory through its whole life."""

    durability = Durability.HOST

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="machine-", dir=memory if memory.is_dir() else None))
        self.directory = self.folder / "w-00000001"
        self.directory.mkdir()
        self.disk = SimulatedDisk(self.directory)
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(crash, "point", self.pass_point)
        self.patch.setattr(
            syncer, "_IDLE_S", 3600.0
        )  # what a second brings is a rule here: ``a_second_passes``
        for module in (recovery, writer_module):
            self.patch.setattr(module, "host_boot", lambda: f"after {self.cuts} cuts")
        self.cuts = 0
        self.dies_at: str | None = None
        self.calls: dict[str, Told] = {}
        self.said: dict[Place, Content] = {}
        """What was given out or recovered."""
        self.stored: set[Place] = set()
        self.held: list[EndedExchange] = []
        self.writer: JournalWriter | None = None
        self.reader: WriterReader | None = None

    def pass_point(self, name: str) -> None:
        if name == self.dies_at:
            self.dies_at = None
            raise Died

    @initialize()
    def start(self) -> None:
        self.boot(None)
        self.look()

    # --- the writer ----------------------------------------------------------------------------------------

    @precondition(lambda self: self.writer is None)
    @rule(dies_at=deaths("boot-numbered", "recovery-written", "recovery-named"))
    def boot(self, dies_at: str | None) -> None:
        self.dies_at = dies_at
        with suppress(Died):
            self.writer = open_writer(self.directory, durability=self.durability, sync=self.disk.sync)
            self.see_what_was_recovered()
        self.dies_at = None

    @precondition(lambda self: self.writer is not None)
    @rule(size=SIZES, copied=st.booleans())
    def begin(self, *, size: int, copied: bool) -> None:
        assert self.writer is not None
        body = b"r" * size
        if copied:  # what lies in the journal, frames and all, as a body
            body = segment_files(self.directory)[0].read_bytes()[64 : 64 + size]
        if self.has_room(size):
            name = f"call{len(self.calls)}"
            exchange = self.writer.begin(start_of(Call(name)), body, last=False)
            self.calls[name] = Told(self.writer.opening.boot, exchange, body)

    def has_room(self, size: int) -> bool:
        """Ask once the thread that prepares segments has done so: an example must be the same each time."""
        assert self.writer is not None
        self.writer._spares.wait(60)
        return self.writer.has_room(size + 4096)

    def some_open(self, pick: random.Random) -> Told | None:
        living = [told for told in self.calls.values() if told.exchange is not None]
        return pick.choice(living) if living else None

    @precondition(lambda self: self.writer is not None)
    @rule(size=SIZES, pick=SEEDS)
    def more_of_a_request(self, size: int, pick: random.Random) -> None:
        told = self.some_open(pick)
        if told is not None and not told.is_answered and self.has_room(size):
            told.exchange.request_body(b"m" * size, last=False)
            told.request += b"m" * size

    @precondition(lambda self: self.writer is not None)
    @rule(size=SIZES, pick=SEEDS)
    def chunk(self, size: int, pick: random.Random) -> None:
        told = self.some_open(pick)
        if told is None or not self.has_room(size):
            return
        if not told.is_answered:
            told.is_answered = True
            told.exchange.response(frames.encode_response_start(200, b"a: b\r\n"), b"", last=False)
        data = bytes([65 + len(told.chunks)]) * size
        told.exchange.response_body(data, last=False)
        told.chunks.append(data)

    @precondition(lambda self: self.writer is not None)
    @rule(sizes=st.lists(SIZES, max_size=4), pick=SEEDS, rolls=st.booleans())
    def whole_calls(self, *, sizes: list[int], pick: random.Random, rolls: bool) -> None:
        for size in sizes:
            self.begin(size=size, copied=False)
            self.chunk(size, pick)
            self.end(pick)
        if rolls:
            self.next_segment(None)

    @precondition(lambda self: self.writer is not None)
    @rule(pick=SEEDS)
    def end(self, pick: random.Random) -> None:
        told = self.some_open(pick)
        if told is not None:
            told.exchange.end(Outcome.COMPLETE, 200 if told.is_answered else None, 0, None)
            told.exchange, told.has_ended = None, True

    @precondition(lambda self: self.writer is not None)
    @rule()
    def acknowledge(self) -> None:
        """A client is told; in ``process`` durability that says nothing about a power cut."""
        assert self.writer is not None
        self.writer.when_durable(self.all_is_durable if self.durability is Durability.HOST else lambda: None)

    @precondition(lambda self: self.writer is not None)
    @rule()
    def a_second_passes(self) -> None:
        assert self.writer is not None
        self.writer._syncer.sync_now()
        self.all_is_durable()

    def all_is_durable(self) -> None:
        assert self.writer is not None
        for told in self.calls.values():
            if told.boot == self.writer.opening.boot:
                told.durable = told.all

    @precondition(lambda self: self.writer is not None)
    @rule(dies_at=deaths("before-roll", "after-roll"))
    def next_segment(self, dies_at: str | None) -> None:
        assert self.writer is not None
        if self.writer._spares.wait(60):
            self.dies_at = dies_at
            try:
                roll(self.writer)
            except Died:
                self.kill(0, NO_DICE)

    @precondition(lambda self: self.writer is not None)
    @rule()
    def close(self) -> None:
        assert self.writer is not None
        self.has_room(0)
        self.writer.close()
        self.all_is_durable()
        self.writer_is_gone()

    @precondition(lambda self: self.writer is not None)
    @rule(torn=st.integers(0, 90), pick=SEEDS)
    def kill(self, torn: int, pick: random.Random) -> None:
        """SIGKILL, in the middle of a frame's copy where ``torn`` says so: nobody cleans up, the kernel keeps all."""
        writer, told = self.writer, self.some_open(pick)
        assert writer is not None
        if torn and told is not None and writer.offset + 200 < writer.end_at:
            frame = frames.frame(
                writer.marker, Kind.RESPONSE_BODY, b"t" * 60, at=writer.offset,
                number=told.exchange.count, exchange=told.exchange.number, mono_ns=1,
            )[:torn]  # fmt: skip
            writer.map[writer.offset : writer.offset + torn] = frame
        self.has_room(0)
        elsewhere = self.folder / "elsewhere"
        self.directory.rename(
            elsewhere
        )  # so that closing, which frees what a process holds, finds no file to remove
        writer.fail(RuntimeError("killed"))
        writer.close()
        elsewhere.rename(self.directory)
        self.writer_is_gone()

    def writer_is_gone(self) -> None:
        self.writer = None
        for told in self.calls.values():
            told.exchange = None

    # --- the machine ---------------------------------------------------------------------------------------

    @rule(chance=SEEDS)
    def write_back(self, chance: random.Random) -> None:
        if self.writer is not None:
            self.has_room(0)
        self.disk.write_back(chance)

    @rule(chance=SEEDS, more=st.booleans())
    def power_cut(self, *, chance: random.Random, more: bool) -> None:
        if more:
            self.write_back(chance)
        if self.writer is not None:
            self.kill(0, chance)
        if self.reader is not None:
            self.reader_dies()
        self.disk.cut()
        self.cuts += 1
        for told in self.calls.values():
            told.power_failed = True

    @rule(at=st.integers(1, 6), chance=SEEDS)
    def power_cut_before_a_sync(self, at: int, chance: random.Random) -> None:
        """The power goes while something is opened, recovered or freed: any order of what was not synced yet."""
        syncs = itertools.count(1)

        def before_sync() -> None:
            if next(syncs) == at:
                raise Died

        self.disk.before_sync = before_sync
        with suppress(Died):
            if self.writer is None:
                chance.choice([self.boot, self.recover])(None)
            elif self.reader is not None:
                self.catch_up(None, chance)
        self.disk.before_sync = lambda: None
        self.power_cut(chance=chance, more=True)

    @precondition(lambda self: self.writer is None)
    @rule(dies_at=deaths("recovery-written", "recovery-named"))
    def recover(self, dies_at: str | None) -> None:
        self.dies_at = dies_at
        with suppress(Died), locked(self.directory) as free:
            assert free
            recovery.recover(self.directory, self.disk.sync)
            self.see_what_was_recovered()
        self.dies_at = None

    def see_what_was_recovered(self) -> None:
        """Look at all that is there: from now on it must stay so, for recovery is durable and done once."""
        reader = WriterReader(self.directory, sync=lambda _: None)
        with suppress(BufferError):
            while batch := reader.poll():
                for ended in batch:
                    self.check(ended)
        reader.close()
        gone = self.never_given(told for told in self.calls.values() if told.exchange is None)
        assert not gone, f"begun, and gone: {gone}"

    def never_given(self, calls) -> list[str]:
        names = {content.name for content in self.said.values()}
        wanted = set(map(id, calls))
        return [
            name
            for name, told in self.calls.items()
            if id(told) in wanted and name not in names and told.least.request >= 0
        ]

    # --- the reader ----------------------------------------------------------------------------------------

    @precondition(lambda self: self.reader is None)
    @rule()
    def look(self) -> None:
        self.reader = WriterReader(self.directory, sync=self.disk.sync)

    @precondition(lambda self: self.reader is not None)
    @rule()
    def reader_dies(self) -> None:
        assert self.reader is not None
        self.held = []
        self.reader.close()
        self.reader = None

    @precondition(lambda self: self.reader is not None)
    @rule(limit=st.sampled_from([1, 2, 256]))
    def poll(self, limit: int) -> None:
        assert self.reader is not None
        for ended in self.reader.poll(limit):
            self.check(ended)
            if (ended.opening.boot, ended.sequence) in self.stored:
                self.reader.stored(ended)  # as the shipper does with what its ledger knows
            else:
                self.held.append(ended)

    @precondition(lambda self: self.reader is not None and self.held)
    @rule(pick=SEEDS, all_of_them=st.booleans())
    def store(self, *, pick: random.Random, all_of_them: bool) -> None:
        for _ in range(len(self.held) if all_of_them else 1):
            ended = self.held.pop(pick.randrange(len(self.held)))
            self.check(ended)  # its bodies are read when they are asked for: they must still be there
            self.reader.stored(ended)
            self.stored.add((ended.opening.boot, ended.sequence))

    @precondition(lambda self: self.reader is not None)
    @rule(dies_at=deaths("carry-written", "carry-named", "before-delete", "segment-deleted"))
    def collect(self, dies_at: str | None) -> None:
        assert self.reader is not None
        self.dies_at = dies_at
        try:
            self.reader.collect()
        except Died:
            self.reader_dies()
        self.dies_at = None

    @precondition(lambda self: self.reader is not None)
    @rule(dies_at=deaths("carry-written", "carry-named", "before-delete", "segment-deleted"), pick=SEEDS)
    def catch_up(self, dies_at: str | None, pick: random.Random) -> None:
        self.poll(256)
        if self.held:
            self.store(pick=pick, all_of_them=True)
        self.collect(dies_at)

    # --- what must hold ------------------------------------------------------------------------------------

    def check(self, ended: EndedExchange) -> None:
        place = (ended.opening.boot, ended.sequence)
        content = Content(
            None if ended.request_id is None else ended.request_id.rstrip(b".").decode() or None,
            b"".join(ended.request_body),
            tuple(chunk.data for chunk in ended.chunks),
            None if ended.end is None else ended.end.outcome,
            ended.damage,
        )
        if place in self.said:
            if place in self.stored and ended.damage is not None:
                return  # its earlier segments may be free already
            assert content == self.said[place], "a place says something else than before"
            return
        if content.name is not None:
            others = [at for at, said in self.said.items() if said.name == content.name]
            assert not others, f"{content.name} has two places: {[*others, place]}"
        self.check_against_the_model(content)
        self.said[place] = content

    def check_against_the_model(self, content: Content) -> None:
        if content.name is None:
            assert any(told.power_failed for told in self.calls.values()), "nobody's, without a power cut"
            return
        told = self.calls[content.name]
        least = told.least
        if content.damage is not None:
            assert least.request < 0, f"damaged: {content.damage}"
            return
        response = b"".join(content.response)
        assert told.request.startswith(content.request)
        assert told.response.startswith(response)
        assert len(content.request) >= least.request
        assert len(response) >= least.response
        if content.outcome is Outcome.COMPLETE:
            assert told.has_ended
            assert (content.request, list(content.response)) == (told.request, told.chunks)
        else:
            assert content.outcome is Outcome.INTERRUPTED
            assert not least.has_ended
            assert told.power_failed or list(content.response) == told.chunks

    @invariant()
    def places_have_no_gap(self) -> None:
        for boot in {boot for boot, _ in self.said}:
            taken = sorted(sequence for of_boot, sequence in self.said if of_boot == boot)
            assert taken == list(range(len(taken)))

    def teardown(self) -> None:
        try:
            self.end_of_the_story()
        finally:
            if self.reader is not None:
                self.reader.close()
            if self.writer is not None:
                self.kill(0, NO_DICE)
            self.patch.undo()
            self.disk.undo()
            shutil.rmtree(self.folder)

    def end_of_the_story(self) -> None:
        """Come to each promise once more, and cut the power right behind it; then ship all that there is."""
        if self.writer is None:
            self.boot(None)
        if self.reader is None:
            self.look()
        self.promises()[len(self.calls) % len(self.promises())]()
        self.power_cut(chance=NO_DICE, more=False)
        self.recover(None)
        self.look()
        before = -1
        while before != len(self.said) + len(self.stored):
            before = len(self.said) + len(self.stored)
            self.catch_up(None, NO_DICE)
        assert self.stored == self.said.keys(), "the reader keeps something back"
        assert segment_files(self.directory) == [], "all is stored, and something stays"

    def promises(self) -> list[Callable[[], None]]:
        return [self.recovered, self.given_out, self.carried_over, self.closed, self.left_behind]

    def open_call_and_whole_ones(self) -> None:
        self.begin(size=40, copied=False)
        self.a_second_passes()
        self.whole_calls(sizes=[700, 4096], pick=NO_DICE, rolls=False)

    def recovered(self) -> None:
        self.open_call_and_whole_ones()
        self.kill(0, NO_DICE)
        self.recover(None)

    def given_out(self) -> None:
        self.open_call_and_whole_ones()
        self.poll(256)

    def carried_over(self) -> None:
        self.begin(size=40, copied=False)
        self.next_segment(None)
        self.whole_calls(sizes=[700], pick=NO_DICE, rolls=False)
        self.a_second_passes()
        self.catch_up(None, NO_DICE)

    def closed(self) -> None:
        self.open_call_and_whole_ones()
        self.close()

    def left_behind(self) -> None:
        self.open_call_and_whole_ones()
        self.next_segment(None)
        self.acknowledge()


class ProcessJournalMachine(JournalMachine):
    durability = Durability.PROCESS


STEPS = settings(max_examples=40, stateful_step_count=40, suppress_health_check=list(HealthCheck))
JournalMachine.TestCase.settings = ProcessJournalMachine.TestCase.settings = STEPS
test_nothing_is_lost_in_whatever_order_things_happen_in_host_durability = JournalMachine.TestCase
test_nothing_is_lost_in_whatever_order_things_happen_in_process_durability = ProcessJournalMachine.TestCase
