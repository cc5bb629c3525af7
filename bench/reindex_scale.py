"""What ``llm-audit reindex`` takes over many objects in a bucket, into a table: time, CPU and memory, killed and resumed.

Run from a checkout: ``.venv/bin/python bench/reindex_scale.py [CALLS] [FOLDER]`` (default 100000 and a temporary
folder, for progress and the server's log). Small records of ten days in the local AWS (ministack, in memory, on the
same machine). The first run is killed (SIGKILL) once it says that it has read half of them; the second goes on. Some
items of which there is no object are in the table beforehand: they must be gone at the end, and every other be there.
Prints a JSON line for each run and one for what is in the table then.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import psutil

from calls import NOON_MS, item, record
from llm_audit.index.dynamodb_table import Table, client
from llm_audit.index.dynamodb_writer import DynamoWriter
from llm_audit.record.encoding import encode_record
from llm_audit.record.schema import WriterPosition
from llm_audit.store.keys import object_key
from llm_audit.store.objects import ObjectStore
from llm_audit.store.opening import open_store
from local_aws import LocalAws, running_aws
from local_dynamodb import create_table

BUCKET, TABLE = "audit", "CentralLLMAudit"
WRITER, DAYS, DAY_MS = "w-0000000a", 10, 86_400_000
STALE, PUTTERS, TRIES = 100, 16, 3


def objects(count: int) -> Iterator[tuple[str, bytes]]:
    """Give key and bytes of so many records."""
    for number in range(count):
        one = record(
            request_id=str(uuid.uuid4()),
            source=f"source-{number % 7}",
            user=f"user-{number % 50}",
            started_at_ms=NOON_MS - (DAYS - number * DAYS // count) * DAY_MS + number,
            writer=WriterPosition(WRITER, 1, number, None),
        )
        yield object_key("logs", one.started_at_ms, one.request_id), encode_record(one)


def make(count: int, store: ObjectStore, local: LocalAws) -> None:
    """Put the objects, and items of objects that are not there."""
    local.client("s3").create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": local.region}
    )
    create_table(local.client("dynamodb"), TABLE)
    DynamoWriter(Table(TABLE, client(local.region, local.endpoint))).put(
        [item(number) for number in range(STALE)]
    )
    source = objects(count)
    with ThreadPoolExecutor(PUTTERS) as pool:
        while part := list(islice(source, 2000)):
            list(pool.map(lambda one: store.put_new(*one), part))


def run(local: LocalAws, folder: Path, kill_at: int | None = None) -> dict[str, object]:
    """Reindex in a process of its own, and measure it; kill it once it says that it has read so many."""
    places = {"AUDIT_BUCKET": f"s3://{BUCKET}", "AUDIT_INDEX": f"dynamodb://{TABLE}"}
    command = [sys.executable, "-m", "llm_audit", "reindex", "--data-dir", str(folder)]
    began, said = time.monotonic(), []
    server = psutil.Process(local.pid)
    before = sum(server.cpu_times()[:2])
    process = subprocess.Popen(
        command, env=os.environ | places, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line.strip())
        read = re.match(r"([\d,]+) objects read", line)
        if kill_at and read and int(read[1].replace(",", "")) >= kill_at:
            process.kill()
            break
    _, status, used = os.wait4(process.pid, 0)
    return {
        "exit": os.waitstatus_to_exitcode(status),
        "said": [said[0], said[-1]],
        "seconds": round(time.monotonic() - began, 1),
        "cpuSeconds": round(used.ru_utime + used.ru_stime, 1),
        "serverCpuSeconds": round(sum(server.cpu_times()[:2]) - before, 1),
        "peakMiB": round(used.ru_maxrss / 1024),
    }


def in_table(local: LocalAws) -> dict[str, int]:
    """Count what is in the table (exact here, hours old on AWS), and among it what has no object."""
    dynamodb = local.client("dynamodb")
    stale = dynamodb.query(
        TableName=TABLE,
        KeyConditionExpression="id = :id",
        ExpressionAttributeValues={":id": {"S": "project#billing"}},  # which none of the objects is of
        Select="COUNT",
    )
    table = dynamodb.describe_table(TableName=TABLE)["Table"]
    return {"inTable": table["ItemCount"], "withoutObject": stale["Count"]}


def main() -> None:
    """Make everything, index in two runs, print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with running_aws(folder) as local:
            os.environ.update(local.environ)
            began = time.monotonic()
            make(count, open_store(f"s3://{BUCKET}"), local)
            print(json.dumps({"made": count, "seconds": round(time.monotonic() - began, 1)}), flush=True)
            print(json.dumps(run(local, folder, count // 2)), flush=True)
            for _ in range(TRIES):  # on a busy machine the local AWS does not always answer in time
                done = run(local, folder)
                print(json.dumps(done), flush=True)
                if done["exit"] == 0:
                    break
            print(json.dumps(in_table(local)), flush=True)


if __name__ == "__main__":
    main()
