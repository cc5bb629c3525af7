"""What shipping one small record costs: CPU of the shipper's process alone, into an S3 endpoint on loopback.

    python bench/ship_cpu.py [--records 20000] [--endpoint http://127.0.0.1:9000 --bucket audit] [--digests] [--profile]

Without an endpoint it starts ministack as a process of its own. Prints one JSON line: microseconds of CPU per
record of the whole process (all threads), and of the parts that can be measured alone.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from journal_traffic import call, open_writer
from llm_audit.integrity.signatures import new_private_key
from llm_audit.journal.reader import WriterReader
from llm_audit.ship.build import build
from llm_audit.ship.digests import DigestConfig
from llm_audit.ship.shipper import ShipConfig, Shipper
from llm_audit.ship.status import ShipperStatus
from llm_audit.store.folder import FolderStore
from llm_audit.store.objects import ObjectStore
from llm_audit.store.opening import open_store
from local_aws import running_aws
from local_s3 import LocalS3

KEY = new_private_key()
TEXT = "Explain in one sentence what an audit trail is and why it matters to a regulated company. " * 5


def main() -> None:
    """Measure and print."""
    options = _options()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = _store(options, folder, stack)
        writer = open_writer(folder / "journal", limit=1 << 30)
        began = time.process_time()
        for _ in range(options.records):
            call(writer, TEXT)
        journal_us = _us(began, options.records)
        read_us, build_us, size = _parts(folder / "journal" / writer.opening.writer_id)
        config = ShipConfig(
            folder / "journal",
            folder / "quarantine",
            folder / "status.json",
            threads=options.threads,
            digests=_digests() if options.digests else None,
        )
        profile = cProfile.Profile(time.thread_time) if options.profile else None
        began, wall = time.process_time(), time.perf_counter()
        if profile:
            profile.enable()
        asyncio.run(_ship(config, store, options.records))
        if profile:
            profile.disable()
        cpu_us, wall_s = _us(began, options.records), time.perf_counter() - wall
        result = {
            "records": options.records,
            "recordBytes": size,
            "cpuMicrosecondsPerRecord": round(cpu_us, 1),
            "recordsPerSecond": round(options.records / wall_s),
            "putAloneMicroseconds": round(_put_alone(store, size, options), 1),
            "readMicroseconds": round(read_us, 1),
            "buildMicroseconds": round(build_us, 1),
            "testWriterMicroseconds": round(journal_us, 1),
            "stored": json.loads((folder / "status.json").read_text())["stored"],
        }
        writer.close()
        sys.stdout.write(json.dumps(result) + "\n")
        if profile:
            profile.print_stats("cumtime")


def _digests() -> DigestConfig:
    """Digests as they are in front of a model: full ones of 10,000 entries, and one at the end."""
    return DigestConfig(interval_s=3600.0, open_key=lambda: KEY.sign, made_by="bench")


async def _ship(config: ShipConfig, store: ObjectStore, records: int) -> None:
    """Run until all is stored; the writer lives on meanwhile, as it does in front of a model."""
    stop = asyncio.Event()

    def watch(status: ShipperStatus) -> None:
        if status.stored >= records:
            stop.set()

    await Shipper(config, store, None, on_status=watch).run(stop)


def _parts(directory: Path) -> tuple[float, float, int]:
    """Microseconds to read, then to build, a record; and its bytes."""
    reader = WriterReader(directory)
    began = time.process_time()
    ended = []
    while batch := reader.poll(32):
        ended.extend(batch)
    read_us = _us(began, len(ended))
    began = time.process_time()
    previous, size = None, 0
    for one in ended:
        built = build(one, previous)
        previous, size = built.sha256, len(built.data)
    build_us = _us(began, len(ended))
    reader.close()
    return read_us, build_us, size


def _put_alone(store: ObjectStore, size: int, options: argparse.Namespace) -> float:
    """Microseconds of CPU to put as many bytes from as many threads and do nothing else: the floor, here and now."""
    count, data, run = options.records // 2, b"x" * size, uuid.uuid4().hex
    began = time.process_time()
    with ThreadPoolExecutor(min(8, options.threads)) as threads:
        for _ in threads.map(lambda n: store.put_new(f"alone/{run}/{n}", data), range(count)):
            pass
    return _us(began, count)


def _us(began: float, count: int) -> float:
    return (time.process_time() - began) / count * 1e6


def _store(options: argparse.Namespace, folder: Path, stack: ExitStack) -> ObjectStore:
    if options.endpoint == "folder":
        return FolderStore(folder / "objects")
    if options.endpoint:
        return open_store(options.bucket, region="us-east-1", endpoint_url=options.endpoint)
    server = LocalS3(stack.enter_context(running_aws(folder, SERVICES="s3")).endpoint)
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    bucket = server.new_bucket(f"audit-{uuid.uuid4().hex}")
    return open_store(bucket, region="us-east-1", endpoint_url=server.endpoint)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=96)
    parser.add_argument("--endpoint", help="an S3 endpoint that is running, or `folder`")
    parser.add_argument("--bucket", default="audit")
    parser.add_argument("--digests", action="store_true", help="list what is stored in signed digests too")
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
