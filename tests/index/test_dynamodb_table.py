"""The edge to DynamoDB: whatever goes wrong becomes the index's own error, and says what to do."""

from __future__ import annotations

import json
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from botocore.exceptions import ClientError

from calls import item
from llm_audit.index.dynamodb_items import key_of, row_of
from llm_audit.index.dynamodb_table import ConditionFailedError, Table, client, own_errors
from llm_audit.index.errors import IndexDamagedError, IndexMissingError, IndexUnavailableError


@pytest.fixture
def nothing_set(monkeypatch):
    """An environment that names neither credentials nor a region."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent/file")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def answered(code, message="said so"):
    return ClientError({"Error": {"Code": code, "Message": message}}, "Query")


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (answered("ResourceNotFoundException"), IndexMissingError, "no DynamoDB table T"),
        (answered("ThrottlingException"), IndexUnavailableError, "throttled"),
        (answered("ProvisionedThroughputExceededException"), IndexUnavailableError, "throttled"),
        (
            answered(
                "AccessDeniedException", "user x is not authorized to perform: dynamodb:Query on resource: y"
            ),
            IndexUnavailableError,
            "allow dynamodb:Query",
        ),
        (answered("AccessDeniedException", "no"), IndexUnavailableError, "allow dynamodb:Scan"),
        (answered("UnrecognizedClientException"), IndexUnavailableError, "renew them"),
        (answered("ExpiredTokenException"), IndexUnavailableError, "renew them"),
        (
            answered(
                "ValidationException", "Cannot read from backfilling global secondary index: GSI_UserTime"
            ),
            IndexUnavailableError,
            "until its IndexStatus is ACTIVE",
        ),
        (
            answered("ValidationException", "The table does not have the specified index: GSI_UserTime"),
            IndexDamagedError,
            "GSI_UserTime.*create it",
        ),
        (answered("ConditionalCheckFailedException"), ConditionFailedError, "T, Scan"),
        (answered("InternalServerError"), IndexUnavailableError, "InternalServerError"),
    ],
    ids=lambda value: value.response["Error"]["Code"] if isinstance(value, ClientError) else "",
)
def test_an_answer_of_aws_becomes_an_error_with_advice(error, expected, words):
    with pytest.raises(expected, match=words), own_errors("T", "Scan"):
        raise error


def test_without_credentials_it_says_how_to_give_them(nothing_set):
    table = Table("T", client("eu-central-1", "http://127.0.0.1:9"))
    with pytest.raises(IndexUnavailableError, match=r"no AWS credentials were found.*AWS_PROFILE"):
        table.get(key_of(item(1)))
    table.close()


def test_without_a_region_it_says_which_setting_is_missing(nothing_set):
    with pytest.raises(IndexUnavailableError, match="set AWS_REGION"):
        client()


def test_where_nobody_answers_it_says_where_to_look(dynamodb):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        table = Table("T", client("eu-central-1", endpoint, attempts=1))
        with pytest.raises(IndexUnavailableError, match=r"does not answer.*AWS_ENDPOINT_URL"):
            table.get(key_of(item(1)))
        table.close()


def test_a_delete_holds_to_its_condition(table):
    row = row_of(item(1))
    table.put(row)
    condition = "auditObjectKey = :key"
    with pytest.raises(ConditionFailedError):
        table.delete(key_of(item(1)), condition=condition, values={":key": {"S": "another"}})
    assert table.get(key_of(item(1))) == row
    table.delete(key_of(item(1)), condition=condition, values={":key": row["auditObjectKey"]})
    assert table.get(key_of(item(1))) is None


def test_a_table_tells_its_keys_and_indexes(table):
    told = table.describe()
    assert {one["IndexName"] for one in told["GlobalSecondaryIndexes"]} == {
        "GSI_UserTime",
        "GSI_StatusTime",
        "GSI_ProjectLatency",
    }
    table.close()
    table.close()


class _Throttling(BaseHTTPRequestHandler):
    """Answers the first request that the table is throttled, and every later one that there is nothing."""

    def do_POST(self):
        self.server.asked += 1
        self.rfile.read(int(self.headers["content-length"]))
        error = {"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException", "message": "slow down"}
        body = json.dumps(error if self.server.asked <= self.server.refusals else {}).encode()
        self.send_response(400 if self.server.asked <= self.server.refusals else 200)
        self.send_header("content-type", "application/x-amz-json-1.0")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def throttling(dynamodb):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Throttling) as server:
        server.asked, server.refusals = 0, 1
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_throttled_request_is_tried_again_and_only_in_the_end_an_error(throttling):
    endpoint = f"http://127.0.0.1:{throttling.server_address[1]}"
    table = Table("T", client("eu-central-1", endpoint, attempts=2))
    assert table.get(key_of(item(1))) is None
    assert throttling.asked == 2
    throttling.refusals = 99
    with pytest.raises(IndexUnavailableError, match="throttled, again and again"):
        table.get(key_of(item(1)))
    assert throttling.asked == 4
    table.close()
