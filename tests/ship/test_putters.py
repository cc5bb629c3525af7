from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest

from llm_audit.ship.build import build, build_stub
from llm_audit.ship.pace import FEWEST
from llm_audit.ship.putters import Job, Putters
from llm_audit.ship.quarantine import quarantined
from llm_audit.ship.retry import RetryPolicy
from llm_audit.store.folder import FolderStore
from scripted_store import OK, SILENT, scripted_store
from ship_exchanges import REQUEST_ID, damaged_exchange, ended_exchange, request_start

QUICK = RetryPolicy(base_s=0.001, cap_s=0.01)


def jobs(count: int) -> list[Job]:
    return [
        Job(build(ended_exchange(sequence=n, request=request_start(request_id=n.to_bytes(16))), None))
        for n in range(count)
    ]


@contextmanager
def putting(store, quarantine, *, threads=4):
    """Give putters, and a function that waits for so many results."""
    settled = []
    some = threading.Event()
    putters = Putters(store, quarantine, threads=threads, retry=QUICK, on_settled=some.set)

    def wait_for(count: int):
        while len(settled) < count:
            some.wait(0.05)  # the event is a hint: the last result may have come just after a look
            some.clear()
            settled.extend(putters.take_settled())
        return settled

    try:
        yield putters, wait_for
    finally:
        putters.stop(10)


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
            for _ in range(FEWEST):
                server.arrived.acquire(timeout=60)
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
            for _ in range(8):
                server.arrived.acquire(timeout=60)
            while putters.trouble is None:
                server.arrived.acquire(timeout=60)
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

        assert [one.storing is None for one in settled] == [True, False, False, False]
        assert "EntityTooLarge" in settled[0].refusal
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
        for _ in range(3):
            server.arrived.acquire(timeout=60)

        putters.stop(60)

        assert not any(thread.is_alive() for thread in putters._threads)
        assert putters.take_settled() == []
