from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import contextmanager

import pytest

from faults.scripted_store import LOST_ANSWER, OK, SILENT, scripted_store
from llm_audit.ship.build import build, build_stub
from llm_audit.ship.pace import FEWEST
from llm_audit.ship.putters import Job, Putters
from llm_audit.ship.quarantine import quarantined
from llm_audit.ship.retry import RetryPolicy
from llm_audit.store.folder import FolderStore
from llm_audit.store.s3_puts import MOST_UNDER_WAY
from ship_exchanges import REQUEST_ID, damaged_exchange, ended_exchange, request_start

QUICK = RetryPolicy(base_s=0.001, cap_s=0.01)


def jobs(count: int) -> list[Job]:
    return [
        Job(build(ended_exchange(sequence=n, request=request_start(request_id=n.to_bytes(16))), None))
        for n in range(count)
    ]


@contextmanager
def putting(store, quarantine, *, threads=4):
    """Give putters, and a function that takes results until there are so many, or until something is true."""
    settled = []
    some = threading.Event()
    putters = Putters(store, quarantine, threads=threads, retry=QUICK, on_settled=some.set)

    def wait_for(count: int | Callable[[], bool]):
        is_done = count if callable(count) else lambda: len(settled) >= count
        while not is_done():
            some.wait(0.002)  # the event is a hint: what goes the quick way moves on when it is looked at
            some.clear()
            settled.extend(putters.take_settled())
        return settled

    try:
        yield putters, wait_for
    finally:
        putters.stop(10)
        putters.close()


def test_every_job_is_stored_once_by_whichever_thread(tmp_path):
    store = FolderStore(tmp_path / "objects")
    with putting(store, tmp_path / "quarantine") as (putters, wait_for):
        for job in jobs(50):
            putters.submit(job)
        settled = wait_for(50)

    assert {one.storing.stored.key for one in settled} == {entry.key for entry in store.list()}
    assert len(settled) == 50
    assert putters.trouble is None


def test_one_job_after_another_finds_a_thread_however_it_meets_one_that_parks(tmp_path):
    store = FolderStore(tmp_path / "objects")
    with putting(store, tmp_path / "quarantine", threads=1) as (putters, wait_for):
        for count, job in enumerate(jobs(300), start=1):
            putters.submit(job)
            wait_for(count)


def test_no_more_threads_are_started_than_the_pace_allows(tmp_path):
    with scripted_store() as server:
        server.mode = SILENT
        with putting(server.opened(time_scale=0.005), tmp_path, threads=96) as (putters, wait_for):
            for job in jobs(40):
                putters.submit(job)
            wait_for(lambda: len(putters._threads) == FEWEST and putters.error_count >= 2 * FEWEST)
            assert len(putters._threads) == FEWEST
            server.mode = OK
            wait_for(40)

        assert len(server.objects) == 40


@pytest.mark.parametrize("fault", [500, 503, 403, SILENT])
def test_a_store_that_was_at_fault_gets_everything_once_it_is_back(tmp_path, fault):
    with scripted_store() as server:
        server.mode = fault
        store = server.opened(time_scale=0.005)
        with putting(store, tmp_path) as (putters, wait_for):
            for job in jobs(12):
                putters.submit(job)
            wait_for(lambda: putters.error_count >= 8 and putters.trouble is not None)
            message = putters.trouble.message
            server.mode = OK
            settled = wait_for(12)

        assert len(server.objects) == 12
        assert all(one.storing for one in settled)
        assert "s3://audit/logs/2026/11/24/" in message
        assert putters.trouble is None
        assert putters.error_count > 0


def test_a_refused_record_comes_back_and_blocks_nobody(tmp_path):
    large = Job(build(ended_exchange(request_body=(b"x" * 100_000,)), None))
    with scripted_store() as server:
        server.refused_over = 50_000
        with putting(server.opened(), tmp_path, threads=1) as (putters, wait_for):
            putters.submit(large)
            for job in jobs(3):
                putters.submit(job)
            settled = wait_for(4)

        (refused,) = [one for one in settled if one.storing is None]
        assert "EntityTooLarge" in refused.refusal
        assert len(server.objects) == 3


def test_evidence_is_in_quarantine_before_the_stub_is_stored(tmp_path):
    damaged = damaged_exchange(request_id=REQUEST_ID.bytes)
    job = Job(build_stub(damaged, None, "why"), quarantined(damaged, "why"))
    with scripted_store() as server:
        server.mode = 503
        with putting(server.opened(), tmp_path / "quarantine") as (putters, wait_for):
            putters.submit(job)
            assert server.arrived.acquire(timeout=60)
            kept = {path.name for path in (tmp_path / "quarantine" / "w-0a1b2c3d-1-0").iterdir()}
            server.mode = OK
            wait_for(1)

    assert kept == {"reason.txt", "frames.bin"}


def test_a_quarantine_that_cannot_be_written_keeps_the_stub_back(tmp_path):
    (tmp_path / "quarantine").write_bytes(b"a file where the folder should be")
    damaged = damaged_exchange(request_id=REQUEST_ID.bytes)
    with scripted_store() as server, putting(server.opened(), tmp_path / "quarantine") as (putters, wait_for):
        putters.submit(Job(build_stub(damaged, None, "why"), quarantined(damaged, "why")))
        while putters.error_count < 3:
            threading.Event().wait(0.001)
        assert server.objects == {}

        (tmp_path / "quarantine").unlink()
        wait_for(1)

        assert len(server.objects) == 1


def test_stopping_ends_threads_that_wait_for_a_store_that_is_away(tmp_path):
    with scripted_store() as server:
        server.mode = 503
        putters = Putters(
            server.opened(),
            tmp_path,
            threads=3,
            retry=RetryPolicy(base_s=3600, cap_s=3600),
            on_settled=lambda: None,
        )
        for job in jobs(5):
            putters.submit(job)
        while putters.error_count < 3:
            assert putters.take_settled() == []

        putters.stop(60)

        assert not any(thread.is_alive() for thread in putters._threads)
        assert putters.take_settled() == []
        putters.close()


def test_a_small_record_needs_no_thread_while_the_store_works(tmp_path):
    with scripted_store() as server, putting(server.opened(), tmp_path) as (putters, wait_for):
        for job in jobs(MOST_UNDER_WAY):
            putters.submit(job)
        wait_for(MOST_UNDER_WAY)

        assert len(server.objects) == server.requests[OK] == MOST_UNDER_WAY
        assert putters._threads == []


def test_an_answer_that_got_lost_is_found_out_by_a_thread_and_the_record_is_there_once(tmp_path):
    with scripted_store() as server, putting(server.opened(), tmp_path) as (putters, wait_for):
        server.mode = LOST_ANSWER
        for job in jobs(5):
            putters.submit(job)
        wait_for(lambda: len(server.objects) == 5)
        server.mode = OK
        settled = wait_for(5)

        assert [one.storing.adopted for one in settled] == [True] * 5
        assert len(server.objects) == 5
