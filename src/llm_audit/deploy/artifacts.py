"""The bucket from which CloudFormation reads templates and the Lambda's zip, each under a digest.

The bucket belongs to this account (each request says so, S3 refuses another's), takes TLS only, is encrypted, versioned
and closed to the public. A name holds the content's SHA-256, and it is put on condition that it is not there: the same
content is uploaded once, and nothing is ever replaced.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

from llm_audit.deploy.clients import Aws
from llm_audit.deploy.errors import DeployError, error_code

INLINE_LIMIT = 51_200
"""Bytes of a template that CloudFormation takes in a request (its quota); 1 MB from S3."""

LARGEST_TEMPLATE = 1_000_000

Say = Callable[[str], None]


def default_bucket(aws: Aws) -> str:
    """Give the artifacts bucket's name where none is chosen; one for each account and region."""
    return f"llm-audit-artifacts-{aws.account}-{aws.region}"


def ensure_bucket(aws: Aws, bucket: str, say: Say) -> None:
    """Make the bucket unless it is there, and secure it. Raises DeployError where it belongs to somebody else."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - boto3 is an extra

    try:
        aws.s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=aws.account)
    except ClientError as error:
        if error_code(error) not in ("404", "NoSuchBucket"):
            raise _not_ours(bucket) if error_code(error) in ("403", "AccessDenied") else error from None
        _make_bucket(aws, bucket)
        say(f"made the bucket {bucket} for templates and the Lambda's zip")
    _secure(aws, bucket)


def _not_ours(bucket: str) -> DeployError:
    return DeployError(
        f"the bucket {bucket} belongs to another account, or you may not look at it",
        "choose another name with --artifacts-bucket",
    )


def _make_bucket(aws: Aws, bucket: str) -> None:
    from botocore.exceptions import ClientError  # noqa: PLC0415 - boto3 is an extra

    place: Any = {} if aws.region == "us-east-1" else {"LocationConstraint": aws.region}
    try:
        aws.s3.create_bucket(
            Bucket=bucket,
            ObjectOwnership="BucketOwnerEnforced",
            **({"CreateBucketConfiguration": place} if place else {}),
        )
    except ClientError as error:
        if error_code(error) == "BucketAlreadyExists":
            raise _not_ours(bucket) from None
        if error_code(error) != "BucketAlreadyOwnedByYou":  # somebody of ours made it at this moment
            raise


def _secure(aws: Aws, bucket: str) -> None:
    ours: Any = {"Bucket": bucket, "ExpectedBucketOwner": aws.account}
    aws.s3.put_public_access_block(
        **ours,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )
    aws.s3.put_bucket_encryption(
        **ours,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
    )
    aws.s3.put_bucket_versioning(**ours, VersioningConfiguration={"Status": "Enabled"})
    aws.s3.put_bucket_policy(**ours, Policy=json.dumps(_tls_only(aws.partition, bucket)))


def _tls_only(partition: str, bucket: str) -> dict[str, Any]:
    arn = f"arn:{partition}:s3:::{bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }


def upload(aws: Aws, bucket: str, key: str, content: bytes, say: Say) -> None:
    """Put something under its digest unless it is there already. S3 checks the digest of what arrives."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - boto3 is an extra

    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    try:
        aws.s3.put_object(
            Bucket=bucket,
            Key=key,
            Body=content,
            ChecksumSHA256=digest,
            IfNoneMatch="*",
            ExpectedBucketOwner=aws.account,
        )
    except ClientError as error:
        if error_code(error) not in ("PreconditionFailed", "412"):
            raise
    else:
        say(f"uploaded s3://{bucket}/{key} ({len(content):,} bytes)")
