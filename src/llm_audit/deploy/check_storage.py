"""``doctor --aws``: who we are, the stack, the bucket and the table. Reads only."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any

from llm_audit.deploy.errors import error_code
from llm_audit.deploy.findings import Finding
from llm_audit.deploy.target import Target

CLOCK_SECONDS = 60
"""A clock that is further off makes records of several machines hard to put in order; AWS refuses five minutes."""

INDEXES = {
    "GSI_UserTime": ("userIdPk", "userIdSk"),
    "GSI_StatusTime": ("statusPk", "statusSk"),
    "GSI_ProjectLatency": ("latencyPk", "latencySk"),
}
_DEPLOY = "run `llm-audit aws deploy`, which sets it"


def identity(target: Target) -> Iterator[Finding]:
    """Say who we are to AWS, and compare clocks."""
    found = target.aws.sts.get_caller_identity()
    yield Finding(True, f"we are {found['Arn']} in {target.aws.region}")
    date = found["ResponseMetadata"]["HTTPHeaders"].get("date", "")
    try:
        theirs = parsedate_to_datetime(date).timestamp()
    except ValueError:
        return
    difference = abs(time.time() - theirs)
    line = f"our clock and AWS's differ by {difference:.0f} s"
    yield Finding(difference <= CLOCK_SECONDS, line, "set this machine's clock; use NTP")


def stack(target: Target) -> Iterator[Finding]:
    """Say where the stack stands."""
    found = target.stack
    if found is None:
        return
    line = f"the stack {found.name} {found.state.meaning} ({found.status})"
    yield Finding(found.state.is_good, line, found.state.advice)
    advice = "run `llm-audit aws deploy --protect`"
    line = f"the stack is {'' if found.is_protected else 'not '}protected against deletion"
    yield Finding(found.is_protected, line, advice)


def bucket(target: Target) -> Iterator[Finding]:
    """Check what keeps records safe in the bucket."""
    name, s3 = target.bucket, target.aws.s3
    versioning = s3.get_bucket_versioning(Bucket=name).get("Status", "off")
    yield Finding(versioning == "Enabled", f"versioning of {name} is {versioning}", _DEPLOY)
    rules = _or_none("ServerSideEncryptionConfiguration", s3.get_bucket_encryption, name)
    kind = rules["Rules"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] if rules else "off"
    yield Finding(bool(rules), f"encryption of {name} is {kind}", _DEPLOY)
    block = _or_none("PublicAccessBlockConfiguration", s3.get_public_access_block, name) or {}
    open_for = [
        key
        for key in ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        if not block.get(key)
    ]
    words = f"public access to {name} is " + (
        f"not blocked by {', '.join(open_for)}" if open_for else "blocked"
    )
    yield Finding(not open_for, words, _DEPLOY)
    policy = _or_none("Policy", s3.get_bucket_policy, name)
    is_tls = policy is not None and _demands_tls(json.loads(policy))
    yield Finding(
        is_tls, f"{name} {'takes' if is_tls else 'does not demand'} TLS{' only' if is_tls else ''}", _DEPLOY
    )
    lifecycle = _or_none("Rules", s3.get_bucket_lifecycle_configuration, name) or []
    active = [rule["ID"] for rule in lifecycle if rule.get("Status") == "Enabled"]
    yield Finding(bool(active), f"lifecycle of {name}: {', '.join(active) or 'none'}", _DEPLOY)


def _or_none(member: str, ask: Any, name: str) -> Any:
    """Give a member of a bucket's configuration; None where it was never set."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - boto3 is an extra

    try:
        return ask(Bucket=name)[member]
    except ClientError as error:
        if error_code(error).startswith(("NoSuch", "ServerSideEncryptionConfigurationNotFound")) and (
            error_code(error) != "NoSuchBucket"
        ):
            return None
        raise


def _demands_tls(policy: dict[str, Any]) -> bool:
    statements = policy.get("Statement", [])
    return any(
        one.get("Effect") == "Deny"
        and str(one.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport", "")).lower() == "false"
        for one in statements
    )


def table(target: Target) -> Iterator[Finding]:
    """Check the table, its three indexes, and what keeps items safe."""
    name, dynamodb = target.table, target.aws.dynamodb
    found: Any = dynamodb.describe_table(TableName=name)["Table"]
    status = found["TableStatus"]
    yield Finding(
        status in ("ACTIVE", "UPDATING"), f"the table {name} is {status}", "wait until it is ACTIVE"
    )
    yield from _indexes(name, {one["IndexName"]: one for one in found.get("GlobalSecondaryIndexes") or ()})
    is_kept = bool(found.get("DeletionProtectionEnabled"))
    yield Finding(is_kept, f"deletion protection of {name} is {_on(is_kept)}", _DEPLOY)
    backups: Any = dynamodb.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    recovery = backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus", "DISABLED")
    yield Finding(recovery == "ENABLED", f"point-in-time recovery of {name} is {recovery}", _DEPLOY)
    ttl: Any = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    is_expiring = (
        ttl.get("TimeToLiveStatus") in ("ENABLED", "ENABLING") and ttl.get("AttributeName") == "expiresAt"
    )
    advice = f"{_DEPLOY}; without it RETENTION_DAYS removes nothing"
    yield Finding(is_expiring, f"items of {name} expire by expiresAt: {_on(is_expiring)}", advice)


def _indexes(name: str, found: dict[str, Any]) -> Iterator[Finding]:
    for index, keys in INDEXES.items():
        one = found.get(index)
        if one is None:
            yield Finding(False, f"the table {name} has no index {index}", _DEPLOY)
            continue
        schema = tuple(
            key["AttributeName"] for key in sorted(one["KeySchema"], key=lambda key: key["KeyType"])
        )
        status = one.get("IndexStatus", "ACTIVE")
        if schema != keys or one["Projection"]["ProjectionType"] != "ALL":
            words = f"the index {index} has keys {' and '.join(schema)} and not all attributes"
            yield Finding(
                False, words, f"delete the index and make it with {' and '.join(keys)}, projecting ALL"
            )
        else:
            advice = "it is being filled: wait until it is ACTIVE; lists miss older calls until then"
            yield Finding(status == "ACTIVE", f"the index {index} is {status}", advice)


def _on(is_on: bool) -> str:  # noqa: FBT001 - one word for one fact
    return "on" if is_on else "off"
