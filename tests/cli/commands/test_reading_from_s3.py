"""The reading commands where records lie in a bucket and the index on this machine."""

from __future__ import annotations

import json

import pytest

from calls import key_of, record, request_id
from llm_audit.record.encoding import encode_record
from local_s3 import LocalS3
from recorded import Recorded


@pytest.fixture(scope="module")
def bucket(local_aws):
    server = LocalS3(local_aws.endpoint)
    client = server.boto3()
    client.create_bucket(Bucket="audit-reading")
    for number in range(3):
        one = record(number)
        client.put_object(Bucket="audit-reading", Key=key_of(one), Body=encode_record(one))
    return server


@pytest.fixture
def environ(bucket):
    return {
        "AUDIT_BUCKET": "s3://audit-reading",
        "AUDIT_INDEX": "sqlite",
        "AWS_ENDPOINT_URL": bucket.endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


def test_an_index_is_built_from_a_bucket_and_calls_are_shown_from_it(tmp_path, environ):
    recorded = Recorded(tmp_path)
    built = recorded.run("reindex", environ=environ)
    assert (built.exit_code, built.stdout) == (0, "3 calls indexed, 0 removed, 0 other objects\n")
    listed = recorded.run("query", "--json", environ=environ).stdout.splitlines()
    assert {json.loads(line)["auditBucket"] for line in listed} == {"audit-reading"}
    shown = recorded.run("show", request_id(1), "--json", environ=environ)
    assert shown.stdout == encode_record(record(1)).decode() + "\n"


def test_a_bucket_that_refuses_is_said_and_exits_with_1(tmp_path, environ):
    result = Recorded(tmp_path).run("reindex", environ={**environ, "AUDIT_BUCKET": "s3://no-such-bucket"})
    assert result.exit_code == 1
    assert "no-such-bucket" in result.stderr
