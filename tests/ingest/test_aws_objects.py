"""S3 as the function reads it: what each of its answers means, and what to do about it."""

from __future__ import annotations

import botocore.session
import pytest
from botocore.config import Config

from llm_audit.ingest.aws_objects import AuditObjects, ObjectUnreadableError
from llm_audit.ingest.ingest import Notification, ObjectGoneError
from small_aws import Cut, Refusal, small_aws

THERE = Notification("audit", "logs/x.json")


@pytest.fixture
def aws():
    with small_aws() as server:
        yield server


@pytest.fixture
def objects(aws):
    client = botocore.session.get_session().create_client(
        "s3",
        region_name="eu-central-1",
        endpoint_url=aws.url,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )
    yield AuditObjects(client)
    client.close()


def test_an_object_comes_in_pieces(aws, objects):
    aws.objects["/audit/logs/x.json"] = b"x" * 600_000
    pieces = list(objects.open(THERE))
    assert b"".join(pieces) == b"x" * 600_000
    assert max(map(len, pieces)) <= 262_144


def test_an_object_that_is_not_there_is_gone(objects):
    with pytest.raises(ObjectGoneError, match="404 NoSuchKey"):
        list(objects.open(THERE))


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (403, "AccessDenied", "or the object is gone and the role lacks s3:ListBucket"),
        (403, "InvalidObjectState", "restore it"),
        (404, "NoSuchBucket", "region and account"),
        (503, "SlowDown", "GetObject answered 503 SlowDown"),
    ],
)
def test_every_other_refusal_is_an_error_that_says_what_to_do(aws, objects, status, code, advice):
    aws.objects["/audit/logs/x.json"] = Refusal(status, code)
    with pytest.raises(ObjectUnreadableError) as caught:
        list(objects.open(THERE))
    assert advice in str(caught.value)
    assert f"{status} {code}" in str(caught.value)


def test_an_object_cut_off_is_an_error_and_no_document(aws, objects):
    aws.objects["/audit/logs/x.json"] = Cut(b'{"schemaVersion":1}')
    with pytest.raises(ObjectUnreadableError, match="broke off"):
        list(objects.open(THERE))


def test_a_bucket_that_does_not_answer_is_an_error(aws, objects):
    aws.server_close()
    with pytest.raises(ObjectUnreadableError, match="broke off"):
        list(objects.open(THERE))
