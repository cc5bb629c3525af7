"""``reconcile`` from a machine that holds nothing itself: objects in a bucket, items in DynamoDB."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from calls import key_of, record
from llm_audit.cli.main import main
from llm_audit.index.dynamodb import DynamoIndex
from llm_audit.index.schema import ItemSettings, item_from_document
from llm_audit.record.encoding import document, encode_record, sha256_hex
from llm_audit.record.schema import WriterPosition
from local_dynamodb import KEYS, REGION, LocalDynamoDB
from local_s3 import LocalS3

WRITER = "w-0000000a"
LAMBDA = {"STATUS_SHARDS": "3", "RETENTION_DAYS": "400", "MAX_PREVIEW_CHARS": "5"}
SHAPE = ItemSettings(5, 3, 400)
RECORDS = [record(number, writer=WriterPosition(WRITER, 1, number, None)) for number in range(8)]


@dataclass(frozen=True)
class Cloud:
    """A bucket and a table, filled as the Lambda fills them, and the command line of another machine."""

    server: LocalDynamoDB
    bucket: str
    table: str
    folder: Path

    def reconcile(self, *arguments, **environ):
        settings = {
            **KEYS,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.server.endpoint,
            "AUDIT_BUCKET": f"s3://{self.bucket}",
            "AUDIT_INDEX": f"dynamodb://{self.table}",
            "AUDIT_DATA_DIR": str(self.folder / "none"),
        }
        return CliRunner().invoke(
            main, ["reconcile", "--json", "--grace", "0s", *arguments], env={**settings, **environ}
        )

    def remove_object(self, number):
        self.server.s3.boto3().delete_object(Bucket=self.bucket, Key=key_of(RECORDS[number]))

    def rows(self):
        return [row for row in self.server.rows(self.table) if "requestId" in row]

    def remove_item(self, number):
        row = next(row for row in self.rows() if row["requestId"]["S"] == RECORDS[number].request_id)
        key = {name: row[name] for name in ("id", "createdAt")}
        self.server.boto3().delete_item(TableName=self.table, Key=key)


@pytest.fixture(scope="module")
def server(local_aws):
    return LocalDynamoDB(LocalS3(local_aws.endpoint))


@pytest.fixture
def cloud(server, tmp_path, monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    bucket = server.s3.new_bucket(f"audit-{uuid.uuid4().hex[:12]}")
    one = Cloud(server, bucket, server.new_table(), tmp_path)
    client = server.s3.boto3()
    items = []
    for each in RECORDS:
        data = encode_record(each)
        client.put_object(Bucket=bucket, Key=key_of(each), Body=data)
        items.append(item_from_document(document(each), bucket, key_of(each), sha256_hex(data), SHAPE))
    index = DynamoIndex(server.table(one.table))
    index.put(items)
    index.close()
    return one


def said(result):
    assert result.stdout, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    figures = lines[-1]["figures"]
    counts = tuple(figures[name] for name in ("accepted", "recorded", "indexed", "underWay", "unexplained"))
    return sorted((one["finding"], one["subject"]) for one in lines[:-1]), counts, lines[-1]


def test_what_is_missing_in_bucket_or_table_is_named_and_indexed_again(cloud):
    assert said(cloud.reconcile())[:2] == ([], (8, 8, 8, 0, 0))
    rows = cloud.rows()
    cloud.remove_item(2)
    cloud.remove_object(5)

    for how in ((), ("--since", "2026-11-24", "--until", "2026-11-25")):
        found, counts, last = said(cloud.reconcile(*how))
        assert found == [
            ("item-missing", key_of(RECORDS[2])),
            ("item-without-object", key_of(RECORDS[5])),
        ]
        assert counts == (8, 7, 6, 0, 2)
        assert any("journals" in one for one in last["notLookedAt"])

    repaired = cloud.reconcile("--repair", **LAMBDA)

    assert said(repaired)[1] == (8, 7, 7, 0, 1)
    assert cloud.rows() == rows


def test_a_gap_shows_where_objects_are_read_and_items_are_compared_whole(cloud):
    cloud.remove_item(3)
    cloud.remove_object(3)
    row = next(row for row in cloud.rows() if row["requestId"]["S"] == RECORDS[6].request_id)
    cloud.server.boto3().put_item(TableName=cloud.table, Item={**row, "model": {"S": "mine"}})

    found, counts, last = said(cloud.reconcile("--deep", **LAMBDA))

    assert found == [("item-differs", key_of(RECORDS[6])), ("sequence-gap", f"{WRITER}-1-3")]
    assert counts == (8, 7, 6, 0, 2)
    assert last["figures"]["read"] == 7


def test_a_repair_that_would_write_items_of_another_shape_is_refused(cloud):
    result = cloud.reconcile("--repair", STATUS_SHARDS="3")

    assert result.exit_code == 2
    assert "RETENTION_DAYS" in result.stderr
