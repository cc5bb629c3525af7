"""Taking a stack down, and, only where it is named, deleting what it kept.

CloudFormation itself says what it kept (``DELETE_SKIPPED``): buckets and table are ``Retain`` in the template. Audit
data is deleted here alone, resource by resource, after the stack that could still write to it is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llm_audit.deploy.changes import DATA_TYPES
from llm_audit.deploy.clients import Aws
from llm_audit.deploy.errors import DeployError, WrongUsageError
from llm_audit.deploy.events import StackEvent
from llm_audit.deploy.following import Marks, marks
from llm_audit.deploy.holdings import Holding
from llm_audit.deploy.stacks import Resource, Stack, Stacks

Progress = Callable[[int], None]
"""Is told how many versions are deleted so far."""


def data_resources(resources: Sequence[Resource]) -> list[tuple[str, str, str]]:
    """Name the resources that hold data, as ``holdings.measure`` takes them."""
    return [
        (one.logical_id, one.physical_id, one.type)
        for one in resources
        if _holds(one.type) and one.physical_id
    ]


def _holds(kind: str) -> bool:
    return kind in DATA_TYPES


def begin_to_remove(stacks: Stacks, stack: Stack, *, unprotects: bool) -> Marks:
    """Begin to delete a stack; give the marks after which its events come.

    Raises DeployError where it is protected and ``unprotects`` is not set, or where something else is done to it.
    """
    if stack.state.is_running and stack.status != "DELETE_IN_PROGRESS":
        raise DeployError(
            f"the stack {stack.name} {stack.state.meaning} ({stack.status})", stack.state.advice
        )
    if stack.is_protected and unprotects:
        stacks.protect(stack.name, on=False)
    after = marks(stacks, stack.id)
    stacks.remove(stack.id)
    return after


def kept_by(events: Sequence[StackEvent]) -> list[tuple[str, str, str]]:
    """Name what CloudFormation did not delete, as ``holdings.measure`` takes it."""
    return [
        (event.logical_id, event.physical_id, event.type)
        for event in events
        if event.status == "DELETE_SKIPPED"
    ]


def check_named(names: Sequence[str], holdings: Sequence[Holding]) -> None:
    """Raise WrongUsageError where something shall be deleted that is no bucket or table of the stack, or is locked."""
    known = {holding.name: holding for holding in holdings if holding.is_data}
    for name in names:
        if name not in known:
            have = ", ".join(known) or "none"
            raise WrongUsageError(f"{name} is no bucket or table of this stack", f"it has: {have}")
        if known[name].is_locked and known[name].count:
            raise WrongUsageError(
                f"the bucket {name} has Object Lock: its objects cannot be deleted before their retention ends",
                "leave it; its lifecycle expires what may go",
            )


def delete_data(aws: Aws, holding: Holding, progress: Progress) -> None:
    """Delete a bucket with every version in it, or a table."""
    if holding.type == "AWS::S3::Bucket":
        empty_bucket(aws, holding.name, progress)
        aws.s3.delete_bucket(Bucket=holding.name, ExpectedBucketOwner=aws.account)
        return
    aws.dynamodb.update_table(TableName=holding.name, DeletionProtectionEnabled=False)
    aws.dynamodb.get_waiter("table_exists").wait(TableName=holding.name)
    aws.dynamodb.delete_table(TableName=holding.name)


def empty_bucket(aws: Aws, bucket: str, progress: Progress) -> None:
    """Delete every version and delete marker; raises DeployError where S3 refuses one."""
    deleted = 0
    pages: Any = aws.s3.get_paginator("list_object_versions").paginate(
        Bucket=bucket, ExpectedBucketOwner=aws.account
    )
    for page in pages:
        found = [*(page.get("Versions") or []), *(page.get("DeleteMarkers") or [])]
        if not found:
            continue
        result = aws.s3.delete_objects(
            Bucket=bucket,
            ExpectedBucketOwner=aws.account,
            Delete={
                "Objects": [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found],
                "Quiet": True,
            },
        )
        if errors := result.get("Errors"):
            first = errors[0]
            raise DeployError(
                f"{len(errors)} versions in {bucket} cannot be deleted, such as {first.get('Key')}: "
                f"{first.get('Code')}: {first.get('Message')}",
                "Object Lock or a bucket policy keeps them; the rest of the page is deleted",
            )
        deleted += len(found)
        progress(deleted)
