"""The function with the role that the document gives it, on a local AWS that enforces policies (``AUTH=true``).

It answers 404 for a missing object where Amazon's, to a role without ``s3:ListBucket``, answers 403:
``tests/ingest/test_aws_objects.py`` has that answer.
"""

from __future__ import annotations

import json

import pytest

from calls import key_of, record, request_id
from llm_audit.record.encoding import encode_record
from local_aws import ACCOUNT, REGION, running_aws
from local_lambda import ARTIFACTS, Chain, eventually, named_chain

pytestmark = pytest.mark.timeout(300)

ROLE = "llm-audit-ingest-role"
ARCHIVE = "central-llm-audit-raw"


def policy(without: str | None = None) -> str:
    """Give the inline policy as it stands in the repository, account filled in; perhaps without one statement."""
    text = (ARTIFACTS / "inline-policy.json").read_text(encoding="utf-8").replace("<ACCOUNT_ID>", ACCOUNT)
    document = json.loads(text)
    statements = [one for one in document["Statement"] if one["Sid"] != without]
    assert len(statements) == len(document["Statement"]) - (without is not None)
    return json.dumps({**document, "Statement": statements})


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """Section 5 with the document's own names, so that the policy fits as it is."""
    with running_aws(tmp_path_factory.mktemp("auth"), AUTH="true") as aws:
        iam = aws.client("iam")
        trust = (ARTIFACTS / "trust-policy.json").read_text(encoding="utf-8")
        iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=trust)
        made = named_chain(
            aws, "central-llm-audit", "CentralLLMAudit", "llm-audit-ingest", "llm-audit-dlq", role=ROLE
        )
        s3 = aws.client("s3")
        s3.create_bucket(Bucket=ARCHIVE, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield made


def allow(chain: Chain, without: str | None = None) -> None:
    chain.aws.client("iam").put_role_policy(
        RoleName=ROLE, PolicyName="llm-audit-ingest-inline", PolicyDocument=policy(without)
    )


def event(*keys: str) -> dict:
    objects = ({"bucket": {"name": "central-llm-audit"}, "object": {"key": key}} for key in keys)
    return {"Records": [{"eventSource": "aws:s3", "s3": one} for one in objects]}


def test_the_policy_as_it_stands_is_enough_for_items_copies_and_deleted_objects(chain):
    allow(chain)
    chain.configure(RAW_ARCHIVE_BUCKET=ARCHIVE)
    chain.notify_directly()
    chain.put(key_of(record(1)), encode_record(record(1)))
    eventually(chain.stems, {request_id(1)})
    eventually(lambda: chain.aws.client("s3").list_objects_v2(Bucket=ARCHIVE)["KeyCount"], 1)
    answer, error = chain.invoke(event(key_of(record(1)), key_of(record(99))))
    assert (answer, error) == ({"processed": 2, "written": 1, "skipped": 1, "errors": 0}, None)


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        ("AllowDynamoAuditTable", "dynamodb:PutItem"),
        ("AllowReadAuditObjects", "s3:GetObject"),
        ("AllowS3AuditArchive", "s3:PutObject"),
    ],
)
def test_without_a_statement_the_function_fails_and_says_what_is_missing(chain, without, missing):
    allow(chain, without)
    chain.configure(RAW_ARCHIVE_BUCKET=ARCHIVE)
    chain.put(key_of(record(1)), encode_record(record(1)))
    answer, error = chain.invoke(event(key_of(record(1))))
    assert error == "Unhandled", answer
    assert missing in chain.logged(event(key_of(record(1))))[0]["reason"]
