"""The artifacts bucket: secured, and never written over."""

import json

import pytest

from llm_audit.deploy.artifacts import default_bucket, ensure_bucket, upload
from llm_audit.deploy.clients import Aws
from llm_audit.deploy.errors import aws_errors


@pytest.fixture
def said():
    return []


def test_the_bucket_is_made_once_and_secured(aws, name, said):
    ensure_bucket(aws, name, said.append)
    ensure_bucket(aws, name, said.append)
    assert len(said) == 1
    s3 = aws.s3
    assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"].values())
    rule = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    (statement,) = json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])["Statement"]
    assert (statement["Effect"], statement["Condition"]) == (
        "Deny",
        {"Bool": {"aws:SecureTransport": "false"}},
    )
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] == aws.region


def test_something_is_uploaded_once_and_never_replaced(aws, name, said):
    ensure_bucket(aws, name, said.append)
    upload(aws, name, "k", b"first", said.append)
    upload(aws, name, "k", b"second", said.append)
    assert aws.s3.get_object(Bucket=name, Key="k")["Body"].read() == b"first"
    assert sum("uploaded" in line for line in said) == 1


def test_each_account_and_region_has_its_own_bucket(aws):
    assert default_bucket(aws) == f"llm-audit-artifacts-{aws.account}-{aws.region}"


def test_an_objects_address_is_one_that_cloudformation_takes(aws, name):
    assert aws.object_url(name, "a/b.yaml") == f"{aws.endpoint_url}/{name}/a/b.yaml"


def test_amazons_own_address_names_bucket_and_region(monkeypatch):
    for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(variable, raising=False)
    found = Aws("eu-central-1", None).object_url("b", "k.yaml")
    assert found == "https://b.s3.eu-central-1.amazonaws.com/k.yaml"


def test_the_content_that_arrives_is_checked(aws, name, said):
    ensure_bucket(aws, name, said.append)
    with aws_errors():
        upload(aws, name, "k", b"content", said.append)
    head = aws.s3.head_object(Bucket=name, Key="k", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == "7XACtDnprIRfIjV9giusFERzD722AW0+yUMil7nsn3M="
