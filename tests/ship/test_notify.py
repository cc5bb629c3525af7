from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from llm_audit.ship import notify
from llm_audit.ship.ledger import Ledger, StoredRecord
from llm_audit.ship.notify import BATCH, Notifier, ObjectCreated
from llm_audit.ship.retry import RetryPolicy

QUICK = RetryPolicy(base_s=0.001, cap_s=0.01)


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    yield ledger
    ledger.close()


def store(ledger, first: int, count: int) -> None:
    rows = [
        StoredRecord("w-0000000a", 1, n, f"{n:064x}", f"logs/{n}.json", n)
        for n in range(first, first + count)
    ]
    ledger.commit(rows, {}, 1000)


def keys(batch):
    return [created.key for created in batch]


class Index:
    """Takes batches; can be away, or unable to take certain records."""

    def __init__(self):
        self.batches = []
        self.is_away = False
        self.poison = set()
        self.tried = asyncio.Semaphore(0)
        self.changed = asyncio.Condition()

    async def __call__(self, batch):
        self.tried.release()
        if self.is_away or self.poison & set(keys(batch)):
            raise ConnectionError("index is away")
        async with self.changed:
            self.batches.append(list(batch))
            self.changed.notify_all()

    async def has(self, count: int) -> list[str]:
        async with self.changed:
            await self.changed.wait_for(lambda: sum(map(len, self.batches)) >= count)
        return [key for batch in self.batches for key in keys(batch)]


@asynccontextmanager
async def telling(ledger, index):
    notifier = Notifier(ledger, "bucket", index, QUICK)
    task = asyncio.create_task(notifier.run())
    try:
        yield notifier
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_what_is_stored_is_told_with_its_name_size_and_digest(ledger):
    async def scenario():
        index = Index()
        async with telling(ledger, index) as notifier:
            store(ledger, 7, 1)
            notifier.wake()
            await index.has(1)
        assert index.batches == [[ObjectCreated("bucket", "logs/7.json", 7, f"{7:064x}")]]

    asyncio.run(scenario())


def test_a_large_backlog_is_told_in_order_and_in_batches(ledger):
    async def scenario():
        index = Index()
        store(ledger, 0, 2 * BATCH + 10)
        async with telling(ledger, index):
            told = await index.has(2 * BATCH + 10)
        assert told == [f"logs/{n}.json" for n in range(2 * BATCH + 10)]
        assert [len(batch) for batch in index.batches] == [BATCH, BATCH, 10]

    asyncio.run(scenario())
    assert ledger.count_untold() == 0


def test_while_the_index_is_away_nothing_is_lost(ledger):
    async def scenario():
        index = Index()
        index.is_away = True
        store(ledger, 0, 5)
        async with telling(ledger, index) as notifier:
            for _ in range(20):
                await index.tried.acquire()
            assert notifier.last_error == "ConnectionError: index is away"
            index.is_away = False
            assert await index.has(5) == [f"logs/{n}.json" for n in range(5)]
        assert notifier.last_error is None

    asyncio.run(scenario())
    assert ledger.count_untold() == 0


def test_what_was_not_told_is_told_by_the_next_life(ledger):
    async def first_life():
        index = Index()
        index.is_away = True
        store(ledger, 0, 3)
        async with telling(ledger, index):
            await index.tried.acquire()

    async def second_life():
        index = Index()
        async with telling(ledger, index):
            return await index.has(3)

    asyncio.run(first_life())
    assert asyncio.run(second_life()) == [f"logs/{n}.json" for n in range(3)]


def test_a_record_that_the_index_cannot_take_is_set_aside_and_told_later(ledger, monkeypatch):
    async def scenario():
        index = Index()
        index.poison = {"logs/1.json"}
        store(ledger, 0, 4)
        async with telling(ledger, index) as notifier:
            assert await index.has(3) == ["logs/0.json", "logs/2.json", "logs/3.json"]
            store(ledger, 4, 1)
            notifier.wake()
            assert (await index.has(4))[-1] == "logs/4.json"
        assert [row.key for _, row in ledger.late(9)] == ["logs/1.json"]

        monkeypatch.setattr(notify, "LATE_EVERY_S", 0.001)
        index.poison = set()
        async with telling(ledger, index) as notifier:
            assert (await index.has(5))[-1] == "logs/1.json"
            store(ledger, 5, 1)
            notifier.wake()
            await index.has(6)
        assert ledger.late(9) == []

    asyncio.run(scenario())


def test_a_last_record_alone_is_not_set_aside_since_the_index_may_be_away(ledger):
    async def scenario():
        index = Index()
        index.is_away = True
        store(ledger, 0, 1)
        async with telling(ledger, index):
            for _ in range(20):
                await index.tried.acquire()
        assert ledger.late(9) == []
        assert ledger.count_untold() == 1

    asyncio.run(scenario())


def test_a_clean_stop_tells_what_is_there_and_does_not_insist(ledger):
    async def scenario():
        index = Index()
        store(ledger, 0, BATCH + 1)
        notifier = Notifier(ledger, "bucket", index, QUICK)
        await notifier.finish()
        assert len(await index.has(BATCH + 1)) == BATCH + 1

        index.is_away = True
        store(ledger, 1000, 1)
        await notifier.finish()
        assert ledger.count_untold() == 1

    asyncio.run(scenario())
