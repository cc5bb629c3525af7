"""What ``llm-audit reconcile`` takes over many calls: time, CPU and memory. Prints a JSON line for each run.

Run from a checkout: ``.venv/bin/python bench/reconcile_scale.py [CALLS] [FOLDER]`` (default 100000 and a temporary
folder; what a run left in the folder is compared again, not made again). Small records of ten days in a folder,
each with its item and its ledger row. First nothing is read but listings, then (``--deep``) every object.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from calls import NOON_MS, record
from llm_audit.index.schema import Item, item_from_document
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.record.encoding import document, encode_record, sha256_hex
from llm_audit.record.schema import WriterPosition
from llm_audit.ship.ledger import Ledger, Mark, StoredRecord
from llm_audit.store.keys import object_key
from llm_audit.store.objects import ObjectStore
from llm_audit.store.opening import open_store

WRITER, DAYS, DAY_MS, BATCH = "w-0000000a", 10, 86_400_000, 2000


def calls(count: int, store: ObjectStore, root: Path) -> Iterator[tuple[Item, StoredRecord]]:
    """Write so many objects, unsynced; give item and ledger row of each."""
    for number in range(count):
        one = record(
            request_id=str(uuid.uuid4()),
            started_at_ms=NOON_MS - (DAYS - number * DAYS // count) * DAY_MS,
            writer=WriterPosition(WRITER, 1, number, None),
        )
        data = encode_record(one)
        key = object_key("logs", one.started_at_ms, one.request_id)
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        digest = sha256_hex(data)
        item = item_from_document(document(one), store.bucket, key, digest)
        yield item, StoredRecord(WRITER, 1, number, digest, key, len(data))


def make(count: int, folder: Path) -> None:
    """Make objects, index and ledger."""
    root = folder / "objects"
    root.mkdir(parents=True)
    store = open_store(root.as_uri())
    (folder / "journal").mkdir()
    ledger = Ledger(folder / "journal" / "ledger.sqlite3")
    index = SqliteIndex(folder / "index" / "audit.sqlite3")
    source = calls(count, store, root)
    while batch := list(islice(source, BATCH)):
        index.put([item for item, _ in batch])
        rows = [row for _, row in batch]
        mark = Mark((1, rows[-1].sequence), rows[-1].sha256)
        ledger.commit(rows, {WRITER: mark}, time.time_ns() // 1_000_000)
    index.close()
    ledger.close()


def run(folder: Path, *arguments: str) -> dict[str, object]:
    """Compare in a process of its own, and measure it."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AUDIT_")}
    command = [
        sys.executable,
        "-m",
        "llm_audit",
        "reconcile",
        "--json",
        "--data-dir",
        str(folder),
        *arguments,
    ]
    began = time.monotonic()
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    (last,) = deque(process.stdout, maxlen=1)
    _, status, used = os.wait4(process.pid, 0)
    figures = json.loads(last)["figures"]
    return {
        "arguments": arguments,
        "exit": os.waitstatus_to_exitcode(status),
        "calls": figures["accepted"],
        "unexplained": figures["unexplained"],
        "seconds": round(time.monotonic() - began, 2),
        "cpuSeconds": round(used.ru_utime + used.ru_stime, 2),
        "peakMiB": round(used.ru_maxrss / 1024),
    }


def main() -> None:
    """Make what is missing, compare, print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else temporary) / "data"
        if not folder.exists():
            make(count, folder)
        for arguments in ((), ("--deep",)):
            print(json.dumps(run(folder, *arguments)), flush=True)


if __name__ == "__main__":
    main()
