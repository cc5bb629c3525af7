"""CloudFormation: the one place that calls it. Every method may raise botocore's errors; wrap them in ``aws_errors``.

Both creating and updating go through a change set, so that what is shown before is what happens after.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llm_audit.deploy.changes import Change, change_from
from llm_audit.deploy.errors import DeployError, WrongUsageError, error_code, error_message, from_client_error
from llm_audit.deploy.events import NESTED, StackEvent
from llm_audit.deploy.states import State, state_of
from llm_audit.record.times import iso_from_ms

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.client import CloudFormationClient

_NOTHING_TO_CHANGE = ("didn't contain changes", "No updates are to be performed")
_IS_OF_PARAMETER = re.compile(r"parameter|assertion|\bRule\b", re.IGNORECASE)
"""Words of a refusal that speaks of parameters, singly or by the template's rules."""

_PATIENCE_SECONDS = 300.0
"""A change set takes seconds; AWS says up to a few minutes where a stack has hundreds of resources."""


@dataclass(frozen=True, slots=True)
class Template:
    """A template, inline or by the address of an object; one of the two."""

    body: str | None = None
    url: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Give it as CloudFormation's operations take it."""
        return {"TemplateURL": self.url} if self.url else {"TemplateBody": self.body}


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack as it is now."""

    name: str
    id: str
    status: str
    reason: str
    description: str
    changed_at: str
    """ISO 8601 UTC."""
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]
    descriptions: Mapping[str, str]
    """Of the outputs, by name."""
    tags: Mapping[str, str]
    is_protected: bool

    @property
    def state(self) -> State:
        """What its status means."""
        return state_of(self.status)


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of a stack."""

    logical_id: str
    physical_id: str
    type: str
    status: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What a template asks for."""

    parameters: frozenset[str]
    required: frozenset[str]
    """Parameters without a default."""
    secret: frozenset[str]
    """Parameters whose values are never shown (NoEcho)."""
    capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """A change set that AWS has worked out; ``changes`` is empty where there is nothing to do."""

    id: str
    stack_id: str
    stack_name: str
    is_creation: bool
    changes: tuple[Change, ...]


@contextmanager
def parameter_errors() -> Iterator[None]:
    """Turn AWS's refusal of a parameter's value into wrong usage."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - boto3 is an extra

    try:
        yield
    except ClientError as error:
        if error_code(error) == "ValidationError" and _IS_OF_PARAMETER.search(error_message(error)):
            raise WrongUsageError(error_message(error), "give it with --parameter Name=Value") from None
        raise


class Stacks:
    """The stacks of one account and region."""

    def __init__(self, client: CloudFormationClient) -> None:
        self._client = client

    def find(self, name: str) -> Stack | None:
        """Give a stack by its name or id; None where there is none (or, by name, it is deleted)."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - boto3 is an extra

        try:
            found: Any = self._client.describe_stacks(StackName=name)["Stacks"][0]
        except ClientError as error:
            if error_code(error) == "ValidationError" and "does not exist" in error_message(error):
                return None
            raise
        return _stack(found)

    def resources(self, name: str) -> tuple[Resource, ...]:
        """Give all resources of a stack."""
        pages = self._client.get_paginator("list_stack_resources").paginate(StackName=name)
        found: Iterator[Any] = (one for page in pages for one in page["StackResourceSummaries"])
        return tuple(
            Resource(
                one["LogicalResourceId"],
                one.get("PhysicalResourceId", ""),
                one["ResourceType"],
                one["ResourceStatus"],
            )
            for one in found
        )

    def all_resources(self, name: str) -> tuple[Resource, ...]:
        """Give all resources of a stack and of those nested in it."""
        found: tuple[Resource, ...] = ()
        for one in self.resources(name):
            found += (one,)
            if one.type == NESTED and one.physical_id and one.status != "DELETE_COMPLETE":
                found += self.all_resources(one.physical_id)
        return found

    def events(self, name: str) -> Iterator[StackEvent]:
        """Give a stack's events, newest first, page by page as they are taken."""
        for page in self._client.get_paginator("describe_stack_events").paginate(StackName=name):
            found: Sequence[Any] = page["StackEvents"]
            yield from map(_event, found)

    def validation_errors(self, stack_id: str) -> list[StackEvent]:
        """Give what was wrong before anything was made: AWS checks values and names first, and tells of it apart."""
        pages = self._client.get_paginator("describe_events").paginate(
            StackName=stack_id, Filters={"FailedEvents": True}
        )
        found: list[Any] = [one for page in pages for one in page["OperationEvents"]]
        errors = [one for one in found if one.get("EventType") == "VALIDATION_ERROR"]
        newest = max((one["Timestamp"] for one in errors), default=None)
        operation = next((one.get("OperationId") for one in errors if one["Timestamp"] == newest), None)
        return [_validation_error(one) for one in errors if one.get("OperationId") == operation]

    def summary(self, template: Template) -> Summary:
        """Let AWS read a template."""
        found: Any = self._client.get_template_summary(**template.arguments())
        declared = found.get("Parameters") or ()
        return Summary(
            parameters=frozenset(one["ParameterKey"] for one in declared),
            required=frozenset(one["ParameterKey"] for one in declared if "DefaultValue" not in one),
            secret=frozenset(one["ParameterKey"] for one in declared if one.get("NoEcho")),
            capabilities=tuple(found.get("Capabilities") or ()),
        )

    def plan(
        self,
        name: str,
        template: Template,
        *,
        is_creation: bool,
        parameters: Sequence[Any],
        tags: Mapping[str, str] | None,
        capabilities: Sequence[str],
    ) -> ChangeSet:
        """Make a change set and wait until AWS has worked it out. Raises DeployError where it could not.

        ``tags`` None keeps the stack's. A change set without changes is deleted here. Raises WrongUsageError for a
        parameter whose value is missing or not allowed.
        """
        told: Any = (
            {} if tags is None else {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        )
        with parameter_errors():
            made = self._client.create_change_set(
                StackName=name,
                ChangeSetName=f"llm-audit-{time.time_ns()}",
                ChangeSetType="CREATE" if is_creation else "UPDATE",
                Capabilities=list(capabilities),  # type: ignore[arg-type] # AWS's own words, given back
                Parameters=list(parameters),
                IncludeNestedStacks=True,
                **template.arguments(),
                **told,
            )
        status, reason = self._worked_out(made["Id"])
        if status == "CREATE_COMPLETE":
            changes = tuple(self._changes(made["Id"]))
            return ChangeSet(made["Id"], made["StackId"], name, is_creation, changes)
        self._client.delete_change_set(ChangeSetName=made["Id"])
        if any(words in reason for words in _NOTHING_TO_CHANGE):
            return ChangeSet(made["Id"], made["StackId"], name, is_creation, ())
        raise DeployError(
            f"AWS refuses the change: {reason or status}", "see the message; nothing was changed"
        )

    def _worked_out(self, change_set: str) -> tuple[str, str]:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for seconds in pauses(0.1, 3.0):
            found = self._client.describe_change_set(ChangeSetName=change_set)
            if found["Status"] not in ("CREATE_PENDING", "CREATE_IN_PROGRESS"):
                return found["Status"], found.get("StatusReason", "")
            if time.monotonic() > deadline:
                break
            time.sleep(seconds)
        raise DeployError(
            f"AWS has not worked out the change set in {_PATIENCE_SECONDS:.0f} s",
            "run the same command again; nothing was changed",
        )

    def _changes(self, change_set: str) -> Iterator[Change]:
        for page in self._client.get_paginator("describe_change_set").paginate(ChangeSetName=change_set):
            found: Sequence[Any] = page.get("Changes") or ()
            for one in found:
                if (change := change_from(one)) is not None:
                    yield change
                if inner := (one.get("ResourceChange") or {}).get("ChangeSetId"):
                    yield from self._changes(inner)

    def carry_out(self, change_set: ChangeSet) -> None:
        """Begin what a change set says; nothing that a failed creation made stays behind."""
        options: Any = {"RetainExceptOnCreate": True} if change_set.is_creation else {}
        self._client.execute_change_set(ChangeSetName=change_set.id, **options)

    def discard(self, change_set: ChangeSet) -> None:
        """Delete a change set, and the empty stack that was made to hold it."""
        if change_set.changes:
            self._client.delete_change_set(ChangeSetName=change_set.id)
        stack = self.find(change_set.stack_id)
        if stack is not None and stack.status == "REVIEW_IN_PROGRESS":
            self._client.delete_stack(StackName=change_set.stack_id)

    def protect(self, name: str, *, on: bool) -> None:
        """Set termination protection."""
        self._client.update_termination_protection(StackName=name, EnableTerminationProtection=on)

    def remove(self, stack_id: str) -> None:
        """Begin to delete a stack. Raises DeployError where it is protected."""
        from botocore.exceptions import ClientError  # noqa: PLC0415 - boto3 is an extra

        try:
            self._client.delete_stack(StackName=stack_id)
        except ClientError as error:
            if "TerminationProtection" in error_message(error):
                raise DeployError(
                    "the stack is protected against deletion",
                    "if it shall go: `llm-audit aws destroy --unprotect`",
                ) from None
            raise from_client_error(error) from None

    def continue_rollback(self, name: str) -> None:
        """Let a stack whose rollback failed go on with it."""
        self._client.continue_update_rollback(StackName=name)


def pauses(first: float, longest: float) -> Iterator[float]:
    """Give ever longer pauses, in seconds, for whoever asks again and again."""
    while True:
        yield first
        first = min(first * 1.5, longest)


def _stack(found: dict[str, Any]) -> Stack:
    outputs = found.get("Outputs") or ()
    return Stack(
        name=found["StackName"],
        id=found["StackId"],
        status=found["StackStatus"],
        reason=found.get("StackStatusReason", ""),
        description=found.get("Description", ""),
        changed_at=_iso(found.get("LastUpdatedTime") or found.get("CreationTime")),
        parameters={one["ParameterKey"]: one["ParameterValue"] for one in found.get("Parameters") or ()},
        outputs={one["OutputKey"]: one["OutputValue"] for one in outputs},
        descriptions={one["OutputKey"]: one.get("Description", "") for one in outputs},
        tags={one["Key"]: one["Value"] for one in found.get("Tags") or ()},
        is_protected=bool(found.get("EnableTerminationProtection")),
    )


def _event(found: dict[str, Any]) -> StackEvent:
    return StackEvent(
        id=found["EventId"],
        at=_iso(found["Timestamp"]),
        logical_id=found.get("LogicalResourceId", ""),
        physical_id=found.get("PhysicalResourceId", ""),
        type=found.get("ResourceType", ""),
        status=found.get("ResourceStatus", ""),
        reason=found.get("ResourceStatusReason", ""),
        stack_id=found["StackId"],
    )


def _validation_error(found: dict[str, Any]) -> StackEvent:
    reason = found.get("ValidationStatusReason", "")
    return StackEvent(
        id=found["EventId"],
        at=_iso(found["Timestamp"]),
        logical_id=found.get("LogicalResourceId", ""),
        physical_id=found.get("PhysicalResourceId", ""),
        type=found.get("ResourceType", ""),
        status="VALIDATION_FAILED",
        reason=f"{reason} ({found['ValidationPath']})" if found.get("ValidationPath") else reason,
        stack_id=found["StackId"],
    )


def _iso(when: Any) -> str:
    if not isinstance(when, datetime):
        return ""
    return iso_from_ms(int(when.astimezone(UTC).timestamp() * 1000))
