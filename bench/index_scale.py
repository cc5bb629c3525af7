"""How fast the embedded index answers with a million items: prints JSON.

Run from a checkout: ``.venv/bin/python bench/index_scale.py [ITEMS] [FOLDER]`` (default 1000000 and a
temporary folder; an index that a run left in the folder is asked again, not filled). Items are like real ones: previews of some hundred characters, forty sources of very
different size, five thousand users, one call in two hundred slow, one in fifty failed. Each page is read
with the file in the page cache, forty times with different sources, users, places in the list; the median
and the worst are given, in milliseconds.
"""

from __future__ import annotations

import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from llm_audit.index.schema import Item
from llm_audit.index.selection import Comparison, Condition, Order, Selection
from llm_audit.index.sqlite import SqliteIndex, SqliteReader
from llm_audit.index.tallies import Grouping
from llm_audit.record.times import iso_from_ms

START_MS = 1_795_000_000_000
SOURCES = [f"source-{number}" for number in range(40)]
WEIGHTS = [1 / (number + 1) for number in range(40)]
WORDS = "the invoice of last month shows a sum that differs from our books please explain why".split()  # noqa: SIM905 - prose
BATCH = 500


def calls(count: int, dice: random.Random) -> Iterator[Item]:
    """Give so many calls, one each 200 ms of time on average."""
    at = START_MS
    for number in range(count):
        at += dice.randrange(400)
        stem = f"{at >> 16:08x}-{at & 0xFFFF:04x}-7000-8000-{number:012x}"
        latency = int(dice.lognormvariate(6.5, 0.9)) * (20 if dice.random() < 0.005 else 1)
        yield Item(
            stem=stem,
            source=dice.choices(SOURCES, WEIGHTS)[0],
            user=f"user-{int(dice.paretovariate(0.4)) % 5000}",
            started_at=iso_from_ms(at),
            request_id=stem,
            request_type=dice.choice(("ask", "summarise", "extract", "classify")),
            status_code=dice.choices((200, 400, 429, 500, 503, None), (980, 5, 8, 4, 2, 1))[0],
            outcome=dice.choices(("complete", "rejected", "client_disconnected"), (985, 10, 5))[0],
            latency_ms=latency,
            time_to_first_chunk_ms=latency // 4,
            operation="chat",
            model=dice.choices(("large", "small", "rare"), (700, 299, 1))[0],
            stream=dice.random() < 0.6,
            input_tokens=dice.randrange(2000),
            output_tokens=dice.randrange(900),
            total_tokens=dice.randrange(2900),
            finish_reasons=("stop",),
            prompt_preview=" ".join(dice.choices(WORDS, k=60)),
            response_preview=" ".join(dice.choices(WORDS, k=60)),
            request_bytes=900,
            response_bytes=2100,
            request_sha256="ab" * 32,
            response_sha256="cd" * 32,
            audit_bucket="central-llm-audit",
            audit_object_key=f"logs/{iso_from_ms(at)[:10].replace('-', '/')}/{stem}.json",
            audit_object_sha256="ef" * 32,
            client_address="10.0.0.7",
            user_agent="openai-python/2.1.0",
            identity_source="key",
            key_id="k-7",
            writer_id="w-1",
            sequence=number,
            schema_version=1,
        )


def fill(index: SqliteIndex, count: int) -> dict[str, float]:
    """Write all items in batches, as ingestion does; gives rates."""
    source = calls(count, random.Random(1))  # noqa: S311 - sample data
    slowest, began, cpu = 0.0, time.monotonic(), time.process_time()
    making = making_cpu = 0.0
    while True:
        before, before_cpu = time.monotonic(), time.process_time()
        batch = list(itertools.islice(source, BATCH))
        making += time.monotonic() - before
        making_cpu += time.process_time() - before_cpu
        if not batch:
            break
        before = time.monotonic()
        index.put(batch)
        slowest = max(slowest, time.monotonic() - before)
    wall = time.monotonic() - began - making
    return {
        "items": count,
        "writeItemsPerSecond": round(count / wall),
        "cpuMicrosecondsPerItem": round((time.process_time() - cpu - making_cpu) / count * 1e6),
        "slowestBatchMs": round(slowest * 1000, 1),
    }


def timed(runs: int, work: Callable[[int], object]) -> dict[str, float]:
    """Give median and worst of some runs, in milliseconds; and of the CPU alone, where others share the machine."""
    taken, busy = [], []
    for run in range(runs):
        before, before_cpu = time.perf_counter(), time.process_time()
        work(run)
        taken.append((time.perf_counter() - before) * 1000)
        busy.append((time.process_time() - before_cpu) * 1000)
    return {
        "medianMs": round(statistics.median(taken), 2),
        "worstMs": round(max(taken), 2),
        "cpuMedianMs": round(statistics.median(busy), 2),
        "cpuWorstMs": round(max(busy), 2),
    }


def selections(count: int) -> dict[str, Callable[[int], Selection]]:
    """Name what is asked, by run."""

    def some_time(run: int) -> str:
        return iso_from_ms(START_MS + (run + 1) * count * 200 // 41)

    statuses = ("200", "400", "429", "500", "503", "none")
    rare = Condition(("model",), Comparison.EQUALS, "rare")
    text = Condition(("promptPreview", "responsePreview"), Comparison.CONTAINS, "invoice of last")
    return {
        "source over time": lambda run: Selection(source=SOURCES[run], until=some_time(run)),
        "user over time": lambda run: Selection(user=f"user-{run + 1}", until=some_time(run)),
        "status over time": lambda run: Selection(status=statuses[run % 6], until=some_time(run)),
        "source by latency": lambda run: Selection(source=SOURCES[run], order=Order.SLOWEST),
        "source by latency, within a day": lambda run: Selection(
            source=SOURCES[run], since=some_time(run), until=some_time(run + 1), order=Order.SLOWEST
        ),
        "newest": lambda run: Selection(until=some_time(run)),
        "slowest": lambda _run: Selection(order=Order.SLOWEST),
        "slow ones of a source, by time": lambda run: Selection(source=SOURCES[run], min_latency_ms=60_000),
        "source and user and status": lambda run: Selection(
            source=SOURCES[run], user=f"user-{run + 1}", status="500"
        ),
        "rare model": lambda run: Selection(until=some_time(run), conditions=(rare,)),
        "text": lambda run: Selection(until=some_time(run), conditions=(text,)),
    }


def main(count: int, folder: Path) -> None:
    """Fill an index, ask it, print what it took."""
    path = folder / "audit.sqlite3"
    index = SqliteIndex(path)
    report: dict[str, object] = {} if index.check() else {"write": fill(index, count)}
    reader = SqliteReader(path)
    report["fileMegabytes"] = round(path.stat().st_size / 1e6)
    for name, selection in selections(count).items():
        cursors: dict[int, str | None] = {}

        def first(
            run: int, make: Callable[[int], Selection] = selection, at: dict[int, str | None] = cursors
        ) -> None:
            at[run] = reader.query(make(run), limit=50).cursor

        def second(
            run: int, make: Callable[[int], Selection] = selection, at: dict[int, str | None] = cursors
        ) -> None:
            reader.query(make(run), at[run], limit=50)

        report[name] = {"page": timed(40, first), "next page": timed(40, second)}
    some = iter(calls(count, random.Random(1)))  # noqa: S311 - sample data
    ids = [item.request_id for item in itertools.islice(some, 40)]
    report["by id"] = timed(40, lambda run: reader.get(ids[run]))
    report["statistics of all by source"] = timed(1, lambda _: reader.tallies(Selection(), Grouping.SOURCE))
    day = Selection(since=iso_from_ms(START_MS + count * 200 - 86_400_000))
    report["statistics of the last day by model"] = timed(3, lambda _: reader.tallies(day, Grouping.MODEL))
    print(json.dumps(report, indent=2))
    reader.close()
    index.close()


if __name__ == "__main__":
    items = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    if len(sys.argv) > 2:
        main(items, Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as name:
            main(items, Path(name))
