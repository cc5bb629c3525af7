"""S3 and DynamoDB on loopback (ministack, a process of its own), and the deployed ingestion function beside them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import boto3
from boto3.dynamodb.types import TypeDeserializer
from botocore.config import Config

from faults.index import RECORDS, Item
from faults.system import free_port

REGION = "eu-central-1"
BUCKET, TABLE = "audit", "CentralLLMAudit"
FUNCTION = Path(__file__).parent.parent / "infra" / "lambda" / "llm-audit-ingest"
"""The folder of ``handler.py``, as it is deployed."""
_INDEXES = {
    "GSI_UserTime": ("userIdPk", "userIdSk"),
    "GSI_StatusTime": ("statusPk", "statusSk"),
    "GSI_ProjectLatency": ("latencyPk", "latencySk"),
}


@dataclass(frozen=True, slots=True)
class LocalAws:
    """A running one, with the bucket and the table."""

    endpoint: str

    @property
    def environ(self) -> dict[str, str]:
        """What a program needs to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def client(self, service: str) -> Any:
        """Give an independent client."""
        return boto3.client(
            service,  # type: ignore[call-overload]  # a name that the caller chooses
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 - ministack takes any
            config=Config(s3={"addressing_style": "path"}),
        )

    def objects(self) -> dict[str, bytes]:
        """Read every record, by its key."""
        s3 = self.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{RECORDS}/")
        keys = [str(one["Key"]) for page in pages for one in page.get("Contents", [])]
        return {key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}

    def items(self) -> list[Item]:
        """Read every item of the table."""
        pages = self.client("dynamodb").get_paginator("scan").paginate(TableName=TABLE)
        read = TypeDeserializer().deserialize
        rows = [{name: read(value) for name, value in row.items()} for page in pages for row in page["Items"]]
        return [
            {name: int(value) if isinstance(value, Decimal) else value for name, value in row.items()}
            for row in rows
            if "auditObjectKey" in row
        ]

    def empty_table(self) -> None:
        """Make the table anew."""
        dynamodb = self.client("dynamodb")
        with contextlib.suppress(dynamodb.exceptions.ResourceNotFoundException):
            dynamodb.delete_table(TableName=TABLE)
        keys = {"id": "createdAt", **dict(_INDEXES.values())}
        dynamodb.create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": "S"} for pair in keys.items() for name in pair
            ],
            KeySchema=_schema("id", "createdAt"),
            GlobalSecondaryIndexes=[
                {"IndexName": name, "KeySchema": _schema(*pair), "Projection": {"ProjectionType": "ALL"}}
                for name, pair in _INDEXES.items()
            ],
        )


def _schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


@contextmanager
def local_aws(folder: Path) -> Iterator[LocalAws]:
    """Start it, make bucket and table, and end it with the block."""
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AUDIT_"))}
    settings = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "localhost",
        "MINISTACK_REGION": REGION,
        "SERVICES": "s3,dynamodb",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "TMPDIR": str(folder),
    }
    with (folder / "aws.log").open("wb") as log:
        server = subprocess.Popen(
            [str(Path(sys.executable).parent / "ministack")],
            env=kept | settings,
            stdout=log,
            stderr=log,
            cwd=folder,
        )
        try:
            while not _answers(port):
                if server.poll() is not None:
                    raise RuntimeError(f"ministack ended: {(folder / 'aws.log').read_text()[-2000:]}")
            aws = LocalAws(f"http://127.0.0.1:{port}")
            aws.client("s3").create_bucket(
                Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
            )
            aws.empty_table()
            yield aws
        finally:
            server.kill()
            server.wait()


def _answers(port: int) -> bool:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/_ministack/health")
            return connection.getresponse().status == 200
        except OSError:
            return False


_PROGRAM = """
import contextlib, json, sys
with contextlib.redirect_stdout(sys.stderr):
    import handler
class Context:
    aws_request_id = "faults"
    def get_remaining_time_in_millis(self):
        return int(sys.argv[1])
for line in sys.stdin:
    with contextlib.redirect_stdout(sys.stderr):
        try:
            answer = {"answer": handler.lambda_handler(json.loads(line), Context())}
        except Exception as error:
            answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
"""


class Function:
    """The deployed function in a process of its own: an event in, its answer out."""

    def __init__(self, environ: Mapping[str, str], log: Path, *, remaining_ms: int = 60_000) -> None:
        """Start it; ``remaining_ms`` is what is left of its time, whenever it asks."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AUDIT_"))}
        with log.open("ab") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(remaining_ms)],
                env=kept | dict(environ) | {"TABLE_NAME": TABLE, "PYTHONPATH": str(FUNCTION)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )

    def __enter__(self) -> Self:
        """Give it."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def failed(self, messages: Mapping[str, str]) -> set[str]:
        """Deliver a batch of queue messages, by id; give the ids of those that must come again."""
        records = [
            {"eventSource": "aws:sqs", "messageId": name, "body": body} for name, body in messages.items()
        ]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"Records": records}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "it ended"}')
        if "error" in answer:
            return set(messages)
        return {str(one["itemIdentifier"]) for one in answer["answer"]["batchItemFailures"]}
