"""The ingestion function on a local AWS, set up by the requirement document's own steps (sections 4 and 5).

What the local AWS does otherwise than Amazon's, and these tests do not lean on: it runs the function with its own
Python, its dead letters are envelopes, a notification needs no permission, and only ``AUTH=true`` enforces policies.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_audit.cli.lambda_bundle import archive, bundle
from local_aws import ACCOUNT, REGION, LocalAws
from local_dynamodb import create_table

ROOT = Path(__file__).parent.parent
ARTIFACTS = ROOT / "infra/lambda/llm-audit-ingest"
_numbers = itertools.count()


@dataclass(frozen=True)
class Chain:
    """One bucket, function, table and dead-letter queue, with names of their own."""

    aws: LocalAws
    bucket: str
    table: str
    function: str
    dead_letters: str
    """URL of the dead-letter queue."""
    dead_letters_arn: str

    def put(self, key: str, data: bytes) -> None:
        self.aws.client("s3").put_object(Bucket=self.bucket, Key=key, Body=data)

    def rows(self) -> list[dict[str, Any]]:
        """Give every row of the table, in the order of its keys."""
        pages = self.aws.client("dynamodb").get_paginator("scan").paginate(TableName=self.table)
        rows = [row for page in pages for row in page["Items"]]
        return sorted(rows, key=lambda row: (row["id"]["S"], row["createdAt"]["S"]))

    def stems(self) -> set[str]:
        return {row["createdAt"]["S"].partition("#")[2] for row in self.rows()}

    def invoke(self, event: Any) -> tuple[dict[str, Any], str | None]:
        """Give the function's answer, and the kind of error if it was one."""
        answer = self.aws.client("lambda").invoke(
            FunctionName=self.function, Payload=json.dumps(event).encode()
        )
        return json.loads(answer["Payload"].read()), answer.get("FunctionError")

    def logged(self, event: Any) -> list[dict[str, Any]]:
        """Invoke, and give the lines that the function wrote."""
        answer = self.aws.client("lambda").invoke(
            FunctionName=self.function, LogType="Tail", Payload=json.dumps(event).encode()
        )
        lines = base64.b64decode(answer["LogResult"]).decode().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def configure(self, **environment: str) -> None:
        """Set variables beside the table's name; the next invocation has them."""
        self.aws.client("lambda").update_function_configuration(
            FunctionName=self.function, Environment={"Variables": {"TABLE_NAME": self.table, **environment}}
        )

    def notify_directly(self) -> None:
        """Section 5, step 4."""
        self._notify("LambdaFunctionConfigurations", "LambdaFunctionArn", function_arn(self.function))

    def notify_through_a_queue(self, **mapping: Any) -> str:
        """S3 → SQS → function, in batches with partial answers; gives the queue's URL."""
        sqs, name = self.aws.client("sqs"), f"{self.function}-queue"
        redrive = {"deadLetterTargetArn": self.dead_letters_arn, "maxReceiveCount": "3"}
        attributes = {"VisibilityTimeout": "2", "RedrivePolicy": json.dumps(redrive)}
        url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        self.aws.client("lambda").create_event_source_mapping(
            EventSourceArn=arn,
            FunctionName=self.function,
            BatchSize=10,
            FunctionResponseTypes=["ReportBatchItemFailures"],
            **mapping,
        )
        self._notify("QueueConfigurations", "QueueArn", arn)
        return url

    def _notify(self, kind: str, member: str, arn: str) -> None:
        rules = [{"Name": "prefix", "Value": "logs"}]
        target = {member: arn, "Events": ["s3:ObjectCreated:Put"], "Filter": {"Key": {"FilterRules": rules}}}
        self.aws.client("s3").put_bucket_notification_configuration(
            Bucket=self.bucket, NotificationConfiguration={kind: [target]}
        )

    def dead_letter_bodies(self) -> list[str]:
        """Look at the dead letters; they stay, and are visible again at once."""
        answer = self.aws.client("sqs").receive_message(
            QueueUrl=self.dead_letters, MaxNumberOfMessages=10, VisibilityTimeout=0
        )
        return [message["Body"] for message in answer.get("Messages", [])]


def function_arn(name: str) -> str:
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


def new_chain(aws: LocalAws, code: bytes | None = None, role: str = "any") -> Chain:
    """Make a bucket, a table, a queue and the function, named as nobody else's."""
    name = f"chain-{os.getpid()}-{next(_numbers)}"
    return named_chain(aws, f"{name}-audit", f"{name}-table", f"{name}-ingest", f"{name}-dlq", code, role)


def named_chain(
    aws: LocalAws,
    bucket: str,
    table: str,
    function: str,
    queue: str,
    code: bytes | None = None,
    role: str = "any",
) -> Chain:
    aws.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    create_table(aws.client("dynamodb"), table)
    url = aws.client("sqs").create_queue(QueueName=queue)["QueueUrl"]
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"
    aws.client("lambda").create_function(
        FunctionName=function,
        Runtime="python3.12",
        Role=f"arn:aws:iam::{ACCOUNT}:role/{role}",
        Handler="handler.lambda_handler",
        Timeout=60,
        Environment={"Variables": {"TABLE_NAME": table, "MAX_PREVIEW_CHARS": "2048"}},
        Code={"ZipFile": code or archive(bundle())},
        DeadLetterConfig={"TargetArn": arn},
    )
    return Chain(aws, bucket, table, function, url, arn)


def eventually(look: Callable[[], Any], wanted: Any, seconds: float = 60) -> None:
    """Look again and again until what is seen is what is wanted; fail with what was seen last."""
    end = time.monotonic() + seconds
    while (seen := look()) != wanted:
        assert time.monotonic() < end, f"still {seen!r}, wanted {wanted!r}"
        time.sleep(0.1)
