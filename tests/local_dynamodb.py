"""The DynamoDB of a local AWS for tests, with the table made exactly by the requirement document's section 4."""

from __future__ import annotations

import functools
import itertools
import os
from dataclasses import dataclass

import boto3

from llm_audit.index.dynamodb_table import Table, client
from local_s3 import LocalS3

REGION = "us-east-1"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
INDEXES = {
    "GSI_UserTime": ("userIdPk", "userIdSk"),
    "GSI_StatusTime": ("statusPk", "statusSk"),
    "GSI_ProjectLatency": ("latencyPk", "latencySk"),
}
_numbers = itertools.count()


@dataclass(frozen=True)
class LocalDynamoDB:
    """A running server, whose S3 is there, too."""

    s3: LocalS3

    @property
    def endpoint(self) -> str:
        return self.s3.endpoint

    @functools.cache  # noqa: B019 - it lives as long as the tests do, and a client costs more than most calls
    def boto3(self):
        """Give an independent client, to look at what really lies there; always the same."""
        return boto3.client(
            "dynamodb",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def new_table(self, indexes: tuple[str, ...] = tuple(INDEXES)) -> str:
        """Make a table of a name that nobody has used; gives the name."""
        name = f"CentralLLMAudit-{os.getpid()}-{next(_numbers)}"
        create_table(self.boto3(), name, indexes)
        return name

    def table(self, name: str) -> Table:
        """Open a table as the program does; the environment holds the keys."""
        return Table(name, client(REGION, self.endpoint, attempts=3))

    def rows(self, name: str) -> list[dict]:
        """Give every row of a table, in the order of its keys."""
        pages = self.boto3().get_paginator("scan").paginate(TableName=name)
        rows = [row for page in pages for row in page["Items"]]
        return sorted(rows, key=lambda row: (row["id"]["S"], row["createdAt"]["S"]))


def create_table(dynamodb, name: str, indexes: tuple[str, ...] = tuple(INDEXES)) -> None:
    """Run section 4: the table, then one index at a time, waiting for each."""
    dynamodb.create_table(
        TableName=name,
        AttributeDefinitions=[
            {"AttributeName": "id", "AttributeType": "S"},
            {"AttributeName": "createdAt", "AttributeType": "S"},
        ],
        KeySchema=[
            {"AttributeName": "id", "KeyType": "HASH"},
            {"AttributeName": "createdAt", "KeyType": "RANGE"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    for index in indexes:
        dynamodb.get_waiter("table_exists").wait(TableName=name)
        partition, sort = INDEXES[index]
        dynamodb.update_table(
            TableName=name,
            AttributeDefinitions=[
                {"AttributeName": partition, "AttributeType": "S"},
                {"AttributeName": sort, "AttributeType": "S"},
            ],
            GlobalSecondaryIndexUpdates=[
                {
                    "Create": {
                        "IndexName": index,
                        "KeySchema": [
                            {"AttributeName": partition, "KeyType": "HASH"},
                            {"AttributeName": sort, "KeyType": "RANGE"},
                        ],
                        "Projection": {"ProjectionType": "ALL"},
                    }
                }
            ],
        )
