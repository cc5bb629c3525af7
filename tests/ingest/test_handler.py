"""The function in a process of its own making: answers, failures and what it says, for events of every shape."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from calls import key_of, record, request_id
from llm_audit.ingest.handler import RESERVE_MS, IngestFailedError, Invocation, function_from
from llm_audit.record.encoding import encode_record, sha256_hex
from small_aws import Cut, Refusal, small_aws

EVENTS = Path(__file__).parent / "events"
BUCKET = "central-llm-audit"


@pytest.fixture
def aws():
    with small_aws() as server:
        yield server


class Ingestion:
    """The function with real clients, and what it said."""

    def __init__(self, environment: dict[str, str], remaining=None) -> None:
        self.function = function_from(environment)
        self.invocation = Invocation("r-1", remaining or (lambda: 60_000))
        self.lines: list[dict] = []

    def __call__(self, event):
        return self.function.handle(event, self.invocation, lambda line: self.lines.append(json.loads(line)))

    def reasons(self) -> list[str]:
        return [line["reason"] for line in self.lines if "reason" in line]


@pytest.fixture
def ingestion(aws, monkeypatch):
    """Make the function; botocore takes its credentials and endpoint from the process's environment."""

    def make(remaining=None, **more: str) -> Ingestion:
        for name, value in aws.environment().items():
            monkeypatch.setenv(name, value)
        return Ingestion({**os.environ, **more}, remaining)

    return make


def store(aws, number: int, bucket: str = BUCKET, **changes) -> str:
    key = key_of(record(number))
    aws.objects[f"/{bucket}/{key}"] = encode_record(record(number, **changes))
    return key


def event(name: str):
    return json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))


def s3_event(*keys: str):
    objects = ({"bucket": {"name": BUCKET}, "object": {"key": key}} for key in keys)
    return {"Records": [{"eventSource": "aws:s3", "s3": one} for one in objects]}


@pytest.mark.parametrize(
    "name", ["s3-put", "sns-s3", "dead-letter-envelope", "sqs-eventbridge", "sqs-sns-s3"]
)
def test_the_object_of_an_event_of_any_shape_becomes_an_item(aws, ingestion, name):
    store(aws, 1)
    answer = ingestion()(event(name))
    counts = {"processed": 1, "written": 1, "skipped": 0, "errors": 0}
    assert answer == (counts | {"batchItemFailures": []} if name.startswith("sqs") else counts)
    (row,) = aws.rows
    assert row["requestId"]["S"] == request_id(1)
    assert row["auditObjectSha256"]["S"] == sha256_hex(encode_record(record(1)))


@pytest.mark.parametrize("name", ["s3-key-with-space-and-plus", "eventbridge-created"])
def test_an_object_is_read_under_the_name_that_it_has(aws, ingestion, name):
    stem = "a b+c \u00e9\U0001f600"
    aws.objects[f"/{BUCKET}/logs/2026/11/24/{stem}.json"] = encode_record(record(1, request_id=stem))
    assert ingestion()(event(name))["written"] == 1
    assert aws.rows[0]["createdAt"]["S"].endswith(f"#{stem}")


def test_of_a_queue_only_the_messages_that_failed_are_answered(aws, ingestion):
    store(aws, 2)
    aws.objects[f"/{BUCKET}/{key_of(record(1))}"] = Refusal(403, "AccessDenied")
    answer = ingestion()(event("sqs-s3"))
    assert answer["batchItemFailures"] == [{"itemIdentifier": "m-1"}]
    assert (answer["processed"], answer["written"], answer["errors"]) == (2, 1, 1)


def test_a_message_of_which_one_object_fails_comes_again_whole(aws, ingestion):
    store(aws, 1)
    aws.objects[f"/{BUCKET}/{key_of(record(2))}"] = Cut(b"{")
    answer = ingestion()(event("sqs-two-objects-in-one-message"))
    assert answer["batchItemFailures"] == [{"itemIdentifier": "m-1"}]
    assert len(aws.rows) == 1


def test_what_is_no_json_in_a_queue_fails_alone(aws, ingestion):
    store(aws, 1)
    answer = ingestion()(event("sqs-not-json"))
    assert answer["batchItemFailures"] == [{"itemIdentifier": "m-1"}]
    assert answer["written"] == 1


def test_the_whole_event_is_worked_through_before_it_raises(aws, ingestion):
    good = [store(aws, number) for number in (2, 3)]
    aws.objects[f"/{BUCKET}/logs/bad.json"] = Refusal(403, "AccessDenied")
    one = ingestion()
    with pytest.raises(IngestFailedError, match="1 of 4 could not be ingested"):
        one(s3_event("logs/bad.json", "logs/gone.json", *good))
    assert len(aws.rows) == 2
    (summary,) = [line for line in one.lines if "_aws" in line]
    assert [summary[f"Ingest{name}"] for name in ("Processed", "Written", "Skipped", "Errors")] == [
        4,
        2,
        1,
        1,
    ]
    assert len(summary["IngestAgeMs"]) == 2


@pytest.mark.parametrize("name", ["unknown-shape", "s3-without-key", "s3-key-not-utf8"])
def test_an_event_that_may_name_an_object_nobody_can_find_is_an_error(ingestion, name):
    with pytest.raises(IngestFailedError):
        ingestion()(event(name))


@pytest.mark.parametrize("name", ["s3-test-event", "s3-removed", "eventbridge-deleted", "kinesis"])
def test_what_is_no_new_object_is_skipped(ingestion, name):
    assert ingestion()(event(name)) == {"processed": 1, "written": 0, "skipped": 1, "errors": 0}


def test_the_table_s_refusal_of_one_item_leaves_the_others(aws, ingestion):
    keys = [store(aws, number, source=f"s-{number}") for number in (1, 2)]
    refusal = Refusal(400, "ValidationException")
    aws.table_answer = lambda row: refusal if row["id"]["S"] == "project#s-1" else None
    one = ingestion()
    with pytest.raises(IngestFailedError):
        one(s3_event(*keys))
    assert [row["id"]["S"] for row in aws.rows] == ["project#s-2"]
    assert "the index did not take it" in one.reasons()[0]


def test_near_the_end_of_its_time_it_gives_back_what_it_has_not_begun_but_always_tries_one(aws, ingestion):
    for number in (1, 2):
        store(aws, number)
    one = ingestion(lambda: RESERVE_MS - 1)
    answer = one(event("sqs-s3"))
    assert answer["written"] == 1
    assert answer["batchItemFailures"] == [{"itemIdentifier": "m-2"}]
    assert "the function's time is over" in one.reasons()[0]


def test_a_copy_in_the_archive_is_made_by_s3_only_where_there_is_none_and_belongs_to_the_bucket(
    aws, ingestion
):
    key = store(aws, 1)
    one = ingestion(RAW_ARCHIVE_BUCKET="central-llm-audit-raw")
    assert one(s3_event(key, "logs/none.json"))["written"] == 1
    ((path, headers),) = aws.copies
    assert path == f"/central-llm-audit-raw/{key}"
    assert headers["x-amz-acl"] == "bucket-owner-full-control"
    assert headers["if-none-match"] == "*"
    assert headers["x-amz-copy-source"] == f"{BUCKET}/{key}"


def test_an_archive_that_has_the_copy_already_is_content(aws, ingestion):
    aws.copy_answer = Refusal(412, "PreconditionFailed")
    answer = ingestion(RAW_ARCHIVE_BUCKET="central-llm-audit-raw")(s3_event(store(aws, 1)))
    assert answer == {"processed": 1, "written": 1, "skipped": 0, "errors": 0}


def test_an_archive_that_refuses_is_an_error_although_the_item_is_written(aws, ingestion):
    aws.copy_answer = Refusal(403, "AccessDenied")
    one = ingestion(RAW_ARCHIVE_BUCKET="central-llm-audit-raw")
    with pytest.raises(IngestFailedError):
        one(s3_event(store(aws, 1)))
    assert len(aws.rows) == 1
    assert "no copy in central-llm-audit-raw: CopyObject answered 403 AccessDenied" in one.reasons()[0]


def test_settings_shape_the_item(aws, ingestion):
    key = store(aws, 1, prompt_preview="p" * 50)
    ingestion(TABLE_NAME="Audit", MAX_PREVIEW_CHARS="10", RETENTION_DAYS="1")(s3_event(key))
    (row,) = aws.rows
    assert row["promptPreview"]["S"] == "p" * 10
    assert "expiresAt" in row
