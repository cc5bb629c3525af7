from __future__ import annotations

import asyncio
import errno
import os
import resource
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from journal_kit import (
    LIMIT,
    SETTINGS,
    Call,
    assert_whole,
    begin,
    drain,
    eventually,
    finish,
    open_writer,
    read_all,
    respond,
    roll,
    start_of,
    write,
)
from llm_audit.journal import frames
from llm_audit.journal.files import used_bytes
from llm_audit.journal.model import Durability, JournalFailedError, JournalFullError, JournalLockedError
from llm_audit.journal.reader import WriterReader
from llm_audit.journal.writer import JournalWriter
from llm_audit.record.schema import ErrorInfo, Outcome


def test_calls_come_back_whole_and_in_the_order_in_which_they_ended(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    calls = [Call(f"call{n}", (b"x" * n, b"y"), (b"a" * (n + 1), b"b")) for n in range(20)]
    exchanges = [begin(writer, call) for call in calls]
    for call, exchange in zip(calls, exchanges, strict=True):
        respond(exchange, call)
    for sequence, (call, exchange) in enumerate(reversed(list(zip(calls, exchanges, strict=True)))):
        assert finish(exchange, call) == sequence
    writer.close()
    for ended, call in zip(read_all(directory), reversed(calls), strict=True):
        assert_whole(ended, call)


def test_bodies_larger_than_a_segment_are_split_and_come_back_as_the_pieces_that_came(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory, limit=16 << 20)
    call = Call("large", (b"q" * 5_000_000,), (b"a" * 3_000_000, b"b", b"c" * 200_000))
    write(writer, call)
    writer.close()
    [ended] = read_all(directory)
    assert_whole(ended, call)


def test_a_second_writer_of_the_same_directory_is_refused(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    with pytest.raises(JournalLockedError, match="another process"):
        open_writer(directory)
    writer.close()
    open_writer(directory).close()


def test_calls_left_open_at_a_death_end_as_interrupted_in_order_of_their_beginning(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    calls = [Call(f"call{n}", chunks=(b"abc",)) for n in range(5)]
    exchanges = [begin(writer, call) for call in calls]
    roll(writer)
    for call, exchange in zip(calls[2:], exchanges[2:], strict=True):
        respond(exchange, call)
    finish(exchanges[3], calls[3])
    last = exchanges[0].last_mono_ns
    writer.fail(RuntimeError("dead"))
    writer.close()
    open_writer(directory).close()
    found = read_all(directory)
    assert [ended.sequence for ended in found] == [0, 1, 2, 3, 4]
    assert_whole(found[0], calls[3])
    assert [ended.request.user for ended in found[1:]] == ["call0", "call1", "call2", "call4"]
    assert {ended.end.outcome for ended in found[1:]} == {Outcome.INTERRUPTED}
    assert [ended.end.status_code for ended in found[1:]] == [None, None, 200, 200]
    assert [len(ended.chunks) for ended in found[1:]] == [0, 0, 1, 1]
    assert found[1].end.ended_mono_ns == last
    assert {ended.end.delivered_bytes for ended in found[1:]} == {None}


def until_full(action: Callable[[], object], reason: str) -> int:
    """Do it until the journal is full; gives how often that went well."""
    count, full = 0, None
    while full is None:
        try:
            action()
            count += 1
        except JournalFullError as error:
            full = str(error)
    assert reason in full
    return count


def test_a_full_journal_refuses_calls_but_ends_every_open_one_and_takes_calls_again_once_freed(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory, limit=4 << 20)
    call = Call("call", (b"x" * 1000,), (b"y" * 1000,))
    opened = [begin(writer, call) for _ in range(100)]
    ended_before = until_full(lambda: write(writer, call), "AUDIT_JOURNAL_MAX_BYTES")
    assert not writer.has_room(1000)
    assert ended_before > 500
    for number, exchange in enumerate(opened, writer.next_sequence):
        message = "m" * 5000
        assert exchange.end(Outcome.COMPLETE, 200, 0, ErrorInfo("t" * 500, message)) == number
    assert used_bytes(directory) <= (4 << 20) + (1 << 20)
    reader = WriterReader(directory)
    found = drain(reader)
    assert [ended.damage for ended in found] == [None] * writer.next_sequence
    for ended in found:
        reader.stored(ended)
    assert reader.collect().segments >= 2
    assert eventually(lambda: writer.has_room(1000))
    write(writer, call)
    writer.close()


def test_a_response_that_no_longer_fits_is_refused_and_its_call_still_ends(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory, limit=4 << 20)
    call = Call("call")
    exchange = begin(writer, call)
    exchange.response(frames.encode_response_start(200, b""), b"", last=False)
    sent = until_full(lambda: exchange.response_body(b"z" * 10_000, last=False), "AUDIT_JOURNAL_MAX_BYTES")
    exchange.end(Outcome.INTERRUPTED, 200, None, ErrorInfo("journal_full", "reset"))
    writer.close()
    [ended] = read_all(directory)
    assert ended.damage is None
    assert len(ended.chunks) == sent


def test_a_body_that_cannot_fit_is_refused_before_a_byte_of_it_is_written(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory, limit=4 << 20)
    before = writer.position()
    with pytest.raises(JournalFullError):
        writer.begin(start_of(Call("large")), b"x" * (8 << 20), last=True)
    assert writer.position() == before
    assert writer.open_count == 0
    writer.close()


def test_a_disk_without_room_shows_when_a_segment_is_prepared_and_the_data_path_goes_on(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    assert writer._spares.wait(60)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, before[1]))
    try:
        roll(writer)  # into the one that was there; the next can't be made
        assert not writer._spares.wait(60)
        assert "File too large" in writer.blocked
        write(writer, Call("goes on"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert eventually(lambda: writer._spares.room() > 0)
    assert writer.blocked is None
    writer.close()
    assert len(read_all(directory)) == 1


def test_opening_on_a_disk_without_room_says_so(fast_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, before[1]))
    try:
        with pytest.raises(JournalFullError, match="no journal can be opened in"):
            open_writer(fast_path / "w-00000001")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    open_writer(fast_path / "w-00000001").close()


def test_a_failed_sync_ends_the_boot_once_and_the_next_boot_interrupts_what_was_open(fast_path):
    directory = fast_path / "w-00000001"
    failures: list[Exception] = []
    called: list[str] = []
    syncs = []

    def sync(fd: int) -> None:
        syncs.append(fd)
        raise OSError(errno.EIO, "Input/output error")

    writer = open_writer(directory, durability=Durability.HOST, sync=sync, on_failure=failures.append)
    exchange = begin(writer, Call("call"))
    writer.when_durable(lambda: called.append("durable"))
    assert writer.is_failed
    assert [type(error) for error in failures] == [OSError]
    tries = len(syncs)
    writer.when_durable(lambda: called.append("durable"))
    for attempt in (
        lambda: begin(writer, Call("more")),
        lambda: exchange.response_body(b"x", last=False),
        lambda: exchange.end(Outcome.COMPLETE, 200, 0, None),
    ):
        with pytest.raises(JournalFailedError, match="Input/output error"):
            attempt()
    assert not writer.has_room(1)
    writer.close()
    assert (called, len(failures), len(syncs)) == ([], 1, tries)
    writer = open_writer(directory)
    write(writer, Call("after"))
    writer.close()
    first, second = read_all(directory)
    assert (first.opening.boot, first.end.outcome) == (1, Outcome.INTERRUPTED)
    assert (second.opening.boot, second.end.outcome) == (2, Outcome.COMPLETE)


def test_no_boot_opens_where_a_probe_cannot_be_written(fast_path):
    directory = fast_path / "w-00000001"
    open_writer(directory).close()
    (directory / "probe.tmp").mkdir()  # whatever keeps a file from being written there
    with pytest.raises(JournalFailedError, match="no journal can be opened"):
        open_writer(directory)
    (directory / "probe.tmp").rmdir()
    writer = open_writer(directory)
    assert writer.opening.boot == 2
    writer.close()


def test_in_host_durability_callbacks_run_on_the_loop_after_one_shared_sync(fast_path):
    synced: list[int] = []

    async def run() -> list[int]:
        loop = asyncio.get_running_loop()
        writer = JournalWriter.open(
            fast_path / "w-00000001",
            settings=SETTINGS,
            durability=Durability.HOST,
            limit_bytes=LIMIT,
            loop=loop,
            on_failure=lambda _: None,
            sync=lambda fd: (os.fdatasync(fd), synced.append(fd))[0],
        )
        done: asyncio.Future[None] = loop.create_future()
        order: list[int] = []
        for number in range(100):
            begin(writer, Call(f"call{number}"))
            writer.when_durable(lambda number=number: order.append(number))
        writer.when_durable(lambda: done.set_result(None))
        assert order == []
        await done
        writer.close()
        return order

    assert asyncio.run(run()) == list(range(100))
    assert 1 <= len(synced) <= 5


def test_in_process_durability_a_callback_runs_at_once_and_a_sync_comes_by_itself(fast_path):
    synced = threading.Event()
    writer = open_writer(fast_path / "w-00000001", sync=lambda _: synced.set())
    called: list[bool] = []
    begin(writer, Call("call"))
    writer.when_durable(lambda: called.append(True))
    assert called == [True]
    assert synced.wait(60)
    writer.close()


def test_a_frame_of_a_segment_that_was_left_is_synced_before_its_callback_runs(fast_path):
    names: list[str] = []

    def sync(fd: int) -> None:
        names.append(Path(f"/proc/self/fd/{fd}").readlink().name)

    writer = open_writer(fast_path / "w-00000001", durability=Durability.HOST, sync=sync)
    begin(writer, Call("call"))
    roll(writer)
    seen: list[list[str]] = []
    writer.when_durable(lambda: seen.append(names[:]))
    assert {"00000001-00000000.seg", "00000001-00000001.seg"} <= set(seen[0])
    writer.close()


def test_refused_calls_get_a_twentieth_of_the_journal_and_get_it_back_when_it_is_shipped(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    taken = 0
    while writer.room_for_refusal(1000):
        write(writer, Call("refused", (b"",)))
        taken += 1000
    assert LIMIT // 20 - 1000 <= taken <= LIMIT // 20
    assert writer.has_room(100_000)
    roll(writer)
    reader = WriterReader(directory)
    for ended in drain(reader):
        reader.stored(ended)
    reader.collect()
    assert writer.room_for_refusal(1000)
    writer.close()


def test_a_limit_too_small_for_segments_is_refused(fast_path):
    with pytest.raises(ValueError, match="at least 4194304 per worker"):
        open_writer(fast_path / "w-00000001", limit=1 << 20)


def test_a_second_end_or_a_piece_after_it_is_refused(fast_path):
    writer = open_writer(fast_path / "w-00000001")
    exchange = begin(writer, Call("call"))
    exchange.end(Outcome.COMPLETE, 200, 0, None)
    with pytest.raises(struct.error):
        exchange.end(Outcome.COMPLETE, 200, 0, None)
    with pytest.raises(struct.error):
        exchange.response_body(b"x", last=True)
    assert (writer.open_count, writer.next_sequence) == (0, 1)
    writer.close()


def test_boots_are_numbered_and_a_lost_number_is_found_again_from_the_segments(fast_path):
    directory = fast_path / "w-00000001"
    open_writer(directory).close()
    open_writer(directory).close()
    (directory / "boot").write_text("garbage")
    writer = open_writer(directory)
    assert writer.opening.boot == 3
    writer.close()


def test_folders_and_files_are_for_their_owner_only(fast_path):
    directory = fast_path / "w-00000001"
    writer = open_writer(directory)
    write(writer, Call("call"))
    modes = {path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert (directory.stat().st_mode & 0o777, modes) == (0o700, {0o600})
    writer.close()
