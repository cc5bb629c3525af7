"""What the ingestion function costs for one object: CPU of its process alone, into a local AWS on loopback.

    python bench/ingest_cpu.py [--objects 500] [--batch 10]

Starts ministack as a process of its own, puts records of 2.5 KB and gives the function the events that S3 would
send: one object each, then as many messages of a queue as ``--batch`` says. Prints one JSON line with microseconds
of CPU per object and per invocation. The wait for the network is not in it: on loopback that says nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bench.scaling.sizes import typical_record
from llm_audit.ingest.handler import Function, Invocation, function_from
from local_aws import running_aws
from local_dynamodb import REGION, LocalDynamoDB
from local_s3 import LocalS3

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}
BUCKET = "audit-ingest-cpu"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--objects", type=int, default=500)
    parser.add_argument("--batch", type=int, default=10)
    options = parser.parse_args()
    os.environ |= KEYS
    with tempfile.TemporaryDirectory() as folder, running_aws(Path(folder)) as aws:
        local = LocalDynamoDB(LocalS3(aws.endpoint))
        s3 = local.s3.boto3()
        s3.create_bucket(Bucket=BUCKET)
        records = [_record(s3, key, data) for key, data in typical_record(options.objects)]
        environment = {
            "TABLE_NAME": local.new_table(),
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": local.endpoint,
        }
        os.environ["AWS_ENDPOINT_URL"] = local.endpoint
        function = function_from(environment)
        _run(function, [_direct([record]) for record in records[:20]])  # connections and caches are there
        one_us = _run(function, [_direct([record]) for record in records])
        batches = [records[at : at + options.batch] for at in range(0, len(records), options.batch)]
        batch_us = _run(function, [_queued(batch) for batch in batches])
    per_object = (batch_us - one_us) / (options.batch - 1)
    result = {
        "objects": options.objects,
        "batch": options.batch,
        "microsecondsPerInvocationOfOne": round(one_us),
        "microsecondsPerInvocationOfBatch": round(batch_us),
        "microsecondsPerObject": round(per_object),
        "microsecondsPerInvocationBesides": round(one_us - per_object),
    }
    sys.stdout.write(json.dumps(result) + "\n")


def _record(s3: Any, key: str, data: bytes) -> dict[str, Any]:
    """Put an object and give what S3 tells of it."""
    s3.put_object(Bucket=BUCKET, Key=key, Body=data)
    named = {"key": urllib.parse.quote_plus(key), "size": len(data)}
    return {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": BUCKET}, "object": named},
    }


def _direct(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Records": records}


def _queued(records: list[dict[str, Any]]) -> dict[str, Any]:
    messages = [
        {"messageId": str(number), "eventSource": "aws:sqs", "body": json.dumps(_direct([record]))}
        for number, record in enumerate(records)
    ]
    return {"Records": messages}


def _run(function: Function, events: list[dict[str, Any]]) -> float:
    """Give microseconds of CPU per event. Raises SystemExit where one failed: its cost would be another's."""
    lines: list[str] = []
    began = time.process_time()
    for event in events:
        answer = function.handle(event, Invocation.of(None), lines.append)
        if answer["written"] != answer["processed"] or not answer["written"]:
            raise SystemExit(f"an event was not ingested whole: {answer}")
    return (time.process_time() - began) / len(events) * 1e6


if __name__ == "__main__":
    main()
