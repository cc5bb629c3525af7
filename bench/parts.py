"""What each part costs alone, for the table in docs/benchmarks.md: journal, shipper, ingestion, pages of the index.

python -m bench.parts [--records 20000] [--items 10000,100000,1000000] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # where the captures are read

from bench.scaling.sizes import typical_record
from bench.versus.peers import ROOT
from bench.versus.rounds import served
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.ingest.ingest import Notification, ingest
from llm_audit.store.folder import FolderStore

DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- parts: written by python -m bench.parts --write -->", "<!-- end of parts -->"
PAGES = ("source over time", "user over time", "status over time", "source by latency", "by id")


def main() -> None:
    """Measure and print; with ``--write`` into the document as well."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--items", default="10000,100000,1000000")
    parser.add_argument("--write", action="store_true", help=f"renew {DOCUMENT.relative_to(ROOT)}")
    options = parser.parse_args()
    sizes = [int(size) for size in options.items.split(",")]
    text = "\n".join([*_costs(options.records), "", *_pages(sizes)])
    print(text)
    if options.write:
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def _costs(records: int) -> list[str]:
    with served("s3_endpoint") as (port, _):
        quick = _script(
            "ship_cpu.py", "--records", records, "--endpoint", f"http://127.0.0.1:{port}", "--bucket", "audit"
        )
    local = _script("ship_cpu.py", "--records", records // 2)
    function = _script("ingest_cpu.py", "--objects", 500)
    size = f"{quick['recordBytes'] / 1000:.1f} KB"
    return [
        "| part | CPU, µs | |",
        "|---|--:|---|",
        f"| journal | {quick['testWriterMicroseconds']:.0f} | the frames of one small call, written |",
        f"| shipper | {quick['cpuMicrosecondsPerRecord']:.0f} | one record of {size}, all threads, into an S3 endpoint that costs nothing; {quick['recordsPerSecond']:,} a second |",
        f"| shipper | {local['cpuMicrosecondsPerRecord']:.0f} | the same into ministack, which answers {local['recordsPerSecond']:,} a second |",
        f"| of it: reading | {quick['readMicroseconds']:.0f} | the journal's frames into an exchange |",
        f"| of it: building | {quick['buildMicroseconds']:.0f} | the exchange into its record's bytes |",
        f"| ingestion into SQLite | {_sqlite_us(records // 4):.0f} | one object from a folder |",
        f"| ingestion into DynamoDB | {function['microsecondsPerObject']:,} | one object, the function's process, ministack |",
    ]  # fmt: skip


def _script(name: str, *arguments: object) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "bench" / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env=_environment(),
    )
    said: dict[str, Any] = json.loads(ran.stdout)
    return said


def _environment() -> dict[str, str]:

    return os.environ | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }


def _sqlite_us(count: int) -> float:
    """Microseconds of CPU per object that is read from a folder and written into SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder) / "objects")
        keys = []
        for key, data in typical_record(count):
            store.put_new(key, data)
            keys.append(Notification(store.bucket, key))
        index = SqliteIndex(Path(folder) / "audit.sqlite3")
        began = time.process_time()
        for at in range(0, count, 500):
            ingest(keys[at : at + 500], lambda one: store.stream(one.key), index, readers=1)
        took = time.process_time() - began
        index.close()
    return took / count * 1e6


def _pages(sizes: list[int]) -> list[str]:
    """Say what a page of 50 takes, by the number of items: it must grow with the page, not with the table."""
    found = {size: _script("index_scale.py", size) for size in sizes}
    lines = [
        "| a page of 50 out of SQLite, ms: median (worst of 40) | "
        + " | ".join(f"{size:,} items" for size in sizes)
        + " |",
        "|---|" + "--:|" * len(sizes),
    ]
    for name in PAGES:
        cells = []
        for size in sizes:
            asked = found[size][name]
            page = asked.get("page", asked)
            cells.append(f"{page['medianMs']:.2g} ({page['worstMs']:.2g})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
