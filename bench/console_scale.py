"""How fast the console's pages answer with a million items in SQLite: prints JSON.

Run from a checkout: ``.venv/bin/python bench/console_scale.py [ITEMS] [FOLDER]`` (default 1000000 and a temporary folder;
an index that a run left in the folder is asked again, not filled). Items are those of ``index_scale.py``. Each page is
asked for through the whole application, as somebody on this machine without a login, twenty times with the file in the
page cache; the median and the worst are given, in milliseconds, and the median of the processor's time, which a busy machine
does not lengthen. The overview answers while it still counts: ``counted``
is how long the count itself takes, which pages do not wait for.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
from index_scale import BATCH, SOURCES, calls

from llm_audit.console.app import create_app
from llm_audit.console.pages.calls import SEARCH_SECONDS
from llm_audit.console.setup import ConsoleSetup
from llm_audit.index.index import IndexReader
from llm_audit.index.selection import Selection
from llm_audit.index.sqlite import SqliteIndex, SqliteReader
from llm_audit.query.filters import make_filter
from llm_audit.query.overview import Range, overview
from llm_audit.query.pipeline import PipelineFolders
from llm_audit.query.searching import search_calls
from llm_audit.record.times import ms_from_iso
from llm_audit.store.folder import FolderStore

ROUNDS = 20


def fill(path: Path, count: int) -> None:
    """Write the items, unless they are there."""
    if path.exists():
        return
    index = SqliteIndex(path)
    items = calls(count, random.Random(7))  # noqa: S311 - a bench with a fixed seed
    while batch := list(itertools.islice(items, BATCH)):
        index.put(batch)
    index.close()


def setup_of(folder: Path, path: Path) -> ConsoleSetup:
    """Give the console's surroundings."""
    return ConsoleSetup(
        listens_on="127.0.0.1",
        hosts=frozenset({"127.0.0.1"}),
        is_tls=False,
        data_dir=folder,
        prefix="logs",
        folders=PipelineFolders(folder / "status", folder / "journal", folder / "quarantine"),
        open_index=lambda: SqliteReader(path),
        open_store=lambda: FolderStore(folder / "objects"),
        callers_url="http://127.0.0.1:8000",
        version="bench",
        journal_limit_bytes=2**30,
    )


def paths(reader: IndexReader, dice: random.Random) -> dict[str, Iterator[str]]:
    """Give, by name, pages without end, each time another."""
    newest = reader.query(Selection(), limit=1).items[0]
    day = newest.started_at[:10]
    some = [one.stem for one in reader.query(Selection(), limit=ROUNDS).items]
    cursors = [reader.query(Selection(), None, 500).cursor for _ in range(1)]

    def source() -> str:
        return dice.choice(SOURCES)

    return {
        "overview, everything": itertools.repeat("/?since=2026-11-01&until=2026-12-30"),
        "overview, one source": (f"/?since=2026-11-01&until=2026-12-30&source={source()}" for _ in itertools.count()),
        "overview, one day": itertools.repeat(f"/?since={day}&until=2026-12-30"),
        "calls, newest": itertools.repeat("/calls"),
        "calls, further down": itertools.repeat(f"/calls?cursor={quote(cursors[0] or '')}"),
        "calls, slowest": itertools.repeat("/calls?order=slowest"),
        "calls, a source's slowest": (f"/calls?source={source()}&order=slowest" for _ in itertools.count()),
        "calls, a user": (f"/calls?user=user-{dice.randrange(5000)}" for _ in itertools.count()),
        "calls, a status": (f"/calls?status={dice.choice((400, 429, 500, 503, 'none'))}" for _ in itertools.count()),
        "calls, an outcome": itertools.repeat("/calls?outcome=client_disconnected"),
        "calls, a source's failures": (f"/calls?source={source()}&status=500" for _ in itertools.count()),
        "calls, a rare model": itertools.repeat("/calls?model=rare"),
        "calls, from ten seconds on": itertools.repeat("/calls?min-latency-ms=10000"),
        "calls, a request type of a day": itertools.repeat(f"/calls?request-type=ask&since={day}"),
        "one call, without its content": (f"/calls/{stem}" for stem in itertools.cycle(some)),
        "pipeline": itertools.repeat("/pipeline"),
    }  # fmt: skip


async def measure(setup: ConsoleSetup, asked: dict[str, Iterator[str]]) -> dict[str, dict[str, float]]:
    """Ask for each page; every answer must be a page."""
    transport = httpx.ASGITransport(create_app(setup), client=("127.0.0.1", 1))
    found = {}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for name, some in asked.items():
            times, works = [], []
            for path in itertools.islice(some, ROUNDS + 1):
                began, worked = time.perf_counter(), time.process_time()
                answer = await client.get(path)
                times.append((time.perf_counter() - began) * 1000)
                works.append((time.process_time() - worked) * 1000)
                assert answer.status_code == 200, (path, answer.text)
            first, *others = times
            found[name] = {
                "first": round(first, 1),
                "median": round(statistics.median(others), 1),
                "worst": round(max(others), 1),
                "cpu": round(statistics.median(works[1:]), 1),
            }
    return found


def searched(path: Path) -> dict[str, float]:
    """Give the milliseconds that a page's search for words takes that are nowhere, and how many pages reach the end."""
    reader = SqliteReader(path)
    asked = [make_filter("text", "not among these words", 0)]
    cursor, times = None, []
    while True:
        began = time.perf_counter()
        listing = search_calls(reader, asked, 50, cursor, SEARCH_SECONDS)
        times.append((time.perf_counter() - began) * 1000)
        cursor = listing.cursor
        if cursor is None:
            break
    reader.close()
    return {"pages": len(times), "median": round(statistics.median(times), 1), "worst": round(max(times), 1)}


def counted(path: Path) -> dict[str, float]:
    """Give the seconds that the overview's counts take by themselves."""
    reader = SqliteReader(path)
    found = {}
    for name, source in (("everything", None), ("one source", SOURCES[0])):
        began, worked = time.perf_counter(), time.process_time()
        overview(
            reader, Range(ms_from_iso("2026-11-01T00:00:00Z"), ms_from_iso("2026-12-30T00:00:00Z")), source
        )
        found[name] = round(time.perf_counter() - began, 2)
        found[f"{name}, cpu"] = round(time.process_time() - worked, 2)
    reader.close()
    return found


def main() -> None:
    """Fill, measure, print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else temporary)
        path = folder / "index" / "audit.sqlite3"
        fill(path, count)
        reader = SqliteReader(path)
        asked = paths(reader, random.Random(11))  # noqa: S311 - a bench with a fixed seed
        reader.close()
        result = {
            "items": count,
            "counted_s": counted(path),
            "search_ms": searched(path),
            "pages_ms": asyncio.run(measure(setup_of(folder, path), asked)),
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
