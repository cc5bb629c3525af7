"""What stays in the account when a stack goes: how much it is, and about what it costs. Pure but for ``measure``.

Prices are list prices of eu-central-1 in US dollars, of early 2026, for orientation: others differ by a fifth or so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from llm_audit.deploy.clients import Aws
from llm_audit.deploy.errors import error_code

GIB = 2**30
COUNTED_VERSIONS = 20_000
"""Versions of objects that are counted; a bucket with more is said to hold at least so much."""

_PER_GIB_MONTH = {"AWS::S3::Bucket": 0.0245, "AWS::DynamoDB::Table": 0.306}
_OTHERS = {
    "AWS::Logs::LogGroup": "0.03 a GiB and month",
    "AWS::ECR::Repository": "0.10 a GiB and month",
    "AWS::EC2::Volume": "0.10 a GiB and month, used or not",
    "AWS::CloudFormation::Stack": "nothing by itself: see what is in it",
    "AWS::KMS::Key": "1.00 a month",
    "AWS::SecretsManager::Secret": "0.40 a month",
}


@dataclass(frozen=True, slots=True)
class Holding:
    """One resource that stays. ``count`` and ``size`` (bytes) are None where nobody counts them."""

    logical_id: str
    name: str
    type: str
    count: int | None = None
    size: int | None = None
    is_at_least: bool = False
    is_locked: bool = False
    """True for a bucket whose objects Object Lock keeps."""

    @property
    def is_data(self) -> bool:
        """True where audit data lies in it, which only ``--delete-data`` deletes."""
        return self.type in _PER_GIB_MONTH

    @property
    def amount(self) -> str:
        """Say how much it holds."""
        if self.count is None:
            return ""
        noun = "versions of objects" if self.type == "AWS::S3::Bucket" else "items"
        at_least = "at least " if self.is_at_least else ""
        return f"{at_least}{self.count:,} {noun}, {(self.size or 0) / GIB:.2f} GiB"

    @property
    def cost(self) -> str:
        """Say about what it costs, in US dollars."""
        price = _PER_GIB_MONTH.get(self.type)
        if price is None:
            return _OTHERS.get(self.type, "see AWS's price list")
        text = f"{price:g} a GiB and month"
        if self.size is not None:
            text = f"{'at least ' if self.is_at_least else ''}{self.size / GIB * price:.2f} a month ({text})"
        if self.type == "AWS::S3::Bucket":
            text += ", less where the lifecycle has moved it to Glacier"
        return text

    def as_dict(self) -> dict[str, Any]:
        """Give it for a JSON line."""
        return {
            "resource": self.logical_id,
            "name": self.name,
            "type": self.type,
            "count": self.count,
            "bytes": self.size,
            "isAtLeast": self.is_at_least,
            "objectLock": self.is_locked,
            "cost": self.cost,
        }


def measure(aws: Aws, kept: Iterable[tuple[str, str, str]]) -> list[Holding]:
    """Count what resources hold, given as logical id, name and type; what is gone is left out."""
    found = (_measured(aws, *one) for one in kept)
    return [one for one in found if one is not None]


def _measured(aws: Aws, logical_id: str, name: str, kind: str) -> Holding | None:
    from botocore.exceptions import ClientError  # noqa: PLC0415 - boto3 is an extra

    try:
        if kind == "AWS::S3::Bucket":
            return _bucket(aws, logical_id, name)
        if kind == "AWS::DynamoDB::Table":
            table = aws.dynamodb.describe_table(TableName=name)["Table"]
            return Holding(logical_id, name, kind, table.get("ItemCount", 0), table.get("TableSizeBytes", 0))
    except ClientError as error:
        if error_code(error) in ("NoSuchBucket", "404", "ResourceNotFoundException"):
            return None
        raise
    return Holding(logical_id, name, kind)


def _bucket(aws: Aws, logical_id: str, name: str) -> Holding:
    count, size, is_at_least = 0, 0, False
    pages = aws.s3.get_paginator("list_object_versions").paginate(
        Bucket=name, ExpectedBucketOwner=aws.account
    )
    for page in pages:
        versions = page.get("Versions") or []
        count += len(versions) + len(page.get("DeleteMarkers") or [])
        size += sum(version.get("Size", 0) for version in versions)
        if count >= COUNTED_VERSIONS and page.get("IsTruncated"):
            is_at_least = True
            break
    return Holding(logical_id, name, "AWS::S3::Bucket", count, size, is_at_least, is_locked(aws, name))


def is_locked(aws: Aws, bucket: str) -> bool:
    """Tell whether a bucket has Object Lock."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - boto3 is an extra

    try:
        found = aws.s3.get_object_lock_configuration(Bucket=bucket, ExpectedBucketOwner=aws.account)
    except ClientError as error:
        if error_code(error) == "ObjectLockConfigurationNotFoundError":
            return False
        raise
    return found.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled"
