"""A power cut: of each file, every 4 KiB page is as it was at the last sync, or as it was later; at random."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from journal_kit import Call, begin, open_writer, read_all, respond, roll, segment_files
from llm_audit.journal import recovery
from llm_audit.journal.model import Durability, EndedExchange
from llm_audit.journal.reader import WriterReader
from llm_audit.journal.recovery import try_recover
from llm_audit.journal.writer import JournalWriter
from llm_audit.record.schema import Outcome

PAGE = 4096


class Disk:
    """What would be on the disk: file contents as of each file's last sync."""

    def __init__(self) -> None:
        self.durable: dict[str, bytes] = {}

    def sync(self, fd: int) -> None:
        name = Path(f"/proc/self/fd/{fd}").readlink().name
        self.durable[name] = os.pread(fd, os.fstat(fd).st_size, 0)

    def cut(self, directory: Path, to: Path, chance: random.Random) -> None:
        """Write what is left after the cut. Names and headers are durable before their segment is begun."""
        to.mkdir(parents=True)
        for path in segment_files(directory):
            now = path.read_bytes()
            before = self.durable.get(path.name, now[:64].ljust(len(now), b"\0"))
            share = chance.choice([0.0, 0.1, 0.5, 0.9, 1.0])
            pages = [
                (now if chance.random() < share else before)[at : at + PAGE]
                for at in range(0, len(now), PAGE)
            ]
            (to / path.name).write_bytes(b"".join(pages))


def run(
    directory: Path, disk: Disk, chance: random.Random
) -> tuple[JournalWriter, dict[str, Call], set[str], set[str]]:
    """Make calls as the proxy does, until the power goes: what was begun, and what was durably begun and ended."""
    writer = open_writer(directory, durability=Durability.HOST, sync=disk.sync)
    calls: dict[str, Call] = {}
    begun: set[str] = set()
    ended: set[str] = set()
    pending = []
    for number in range(chance.randrange(20, 60)):
        size = chance.choice([10, 100, 3000, 9000])
        call = Call(
            f"call{number}",
            (b"r" * size,),
            tuple(b"c" * (1 + chance.randrange(size)) for _ in range(number % 4)),
        )
        calls[call.name] = call
        pending.append((begin(writer, call), call))
        if chance.random() < 0.3:
            writer.when_durable(lambda: begun.update(calls))
        if number % 20 == 19:
            roll(writer)
        if chance.random() < 0.6:
            exchange, done = pending.pop(chance.randrange(len(pending)))
            respond(exchange, done)
            exchange.end(Outcome.COMPLETE, 200, 1, None)
            ended_now = {one.name for one in calls.values()} - {one.name for _, one in pending}
            if chance.random() < 0.3:
                writer.when_durable(lambda names=ended_now: ended.update(names))
    return writer, calls, begun, ended


def check(found: list[EndedExchange], calls: dict[str, Call], begun: set[str], ended: set[str]) -> None:
    assert [one.sequence for one in found] == list(range(len(found)))
    assert len(found) <= len(calls)
    ids = {call.id: call for call in calls.values()}
    seen = [ids[one.request_id].name for one in found if one.request_id is not None]
    assert len(seen) == len(set(seen)), "a call ended twice"
    whole = {ids[one.request_id].name: one for one in found if one.damage is None}
    assert begun <= set(seen), f"begun durably and gone: {begun - set(seen)}"
    assert ended <= set(whole), f"ended durably and gone or damaged: {ended - set(whole)}"
    for name, one in whole.items():
        assert b"".join(one.request_body) == b"".join(calls[name].request)[: sum(map(len, one.request_body))]
        chunks = [chunk.data for chunk in one.chunks]
        if name in ended or one.end.outcome == Outcome.COMPLETE:
            assert chunks == list(calls[name].chunks)
        else:
            assert chunks == list(calls[name].chunks)[: len(chunks)]
            assert one.end.outcome == Outcome.INTERRUPTED
    # It was on the disk: nothing that a cut keeps back later may spoil its request.
    assert begun <= set(whole), f"begun durably and in quarantine: {begun - set(whole)}"
    for name in begun:
        assert b"".join(whole[name].request_body) == b"".join(calls[name].request)


@pytest.fixture(autouse=True)
def another_boot_of_the_host(monkeypatch):
    monkeypatch.setattr(recovery, "host_boot", lambda: "after the cut")


@pytest.mark.parametrize("group", range(8))
def test_what_was_durable_survives_any_subset_of_later_pages(fast_path, group):
    for _ in range(12):
        seed = random.randrange(1 << 30)
        chance = random.Random(seed)
        disk = Disk()
        directory = fast_path / f"{seed}" / "w-00000001"
        writer, calls, begun, ended = run(directory, disk, chance)
        after = fast_path / f"{seed}-after" / "w-00000001"
        disk.cut(directory, after, chance)
        writer.fail(RuntimeError("the power is gone"))
        writer.close()
        assert try_recover(after)
        try:
            check(read_all(after), calls, begun, ended)
        except AssertionError as error:
            error.add_note(f"seed {seed}, group {group}")
            raise
        shutil.rmtree(fast_path / f"{seed}")
        shutil.rmtree(fast_path / f"{seed}-after")


def test_what_a_reader_gave_out_before_the_cut_keeps_its_sequence_after_it(fast_path):
    """In ``process`` durability too, where no sync of the writer's need have happened."""
    for _ in range(30):
        seed = random.randrange(1 << 30)
        chance = random.Random(seed)
        disk = Disk()
        directory = fast_path / f"{seed}" / "w-00000001"
        writer = open_writer(directory, sync=disk.sync)
        reader = WriterReader(directory, sync=disk.sync)
        given: dict[int, bytes] = {}
        pending = []
        for number in range(60):
            call = Call(
                f"call{number}", (b"r" * chance.choice([10, 5000]),), (b"c" * chance.choice([5, 6000]),)
            )
            pending.append((begin(writer, call), call))
            if chance.random() < 0.7:
                exchange, done = pending.pop(chance.randrange(len(pending)))
                respond(exchange, done)
                exchange.end(Outcome.COMPLETE, 200, 1, None)
            if chance.random() < 0.1:
                given.update({ended.sequence: ended.request_id for ended in reader.poll(3)})
            if number == 30:
                roll(writer)
        after = fast_path / f"{seed}-after" / "w-00000001"
        disk.cut(directory, after, chance)
        writer.fail(RuntimeError("the power is gone"))
        writer.close()
        assert try_recover(after)
        found = {ended.sequence: ended for ended in read_all(after)}
        assert given, f"seed {seed}"
        for sequence, request_id in given.items():
            assert found[sequence].request_id == request_id, f"seed {seed}"
            assert found[sequence].damage is None, f"seed {seed}"
            assert found[sequence].end.outcome == Outcome.COMPLETE, f"seed {seed}"
        shutil.rmtree(fast_path / f"{seed}")
        shutil.rmtree(fast_path / f"{seed}-after")
