"""What happened to a stack's resources, and which of it was the cause of a failure. Pure.

When one resource fails, CloudFormation cancels those under way and reports each as failed; the one to show is the
first that failed by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from llm_audit.deploy.states import state_of

NESTED = "AWS::CloudFormation::Stack"


@dataclass(frozen=True, slots=True)
class StackEvent:
    """One event. ``at`` is ISO 8601 UTC; ``physical_id`` is empty until the resource has one."""

    id: str
    at: str
    logical_id: str
    physical_id: str
    type: str
    status: str
    reason: str
    stack_id: str

    @property
    def is_of_stack(self) -> bool:
        """True for the stack's own events, False for its resources'."""
        return self.type == NESTED and self.physical_id == self.stack_id

    @property
    def is_nested(self) -> bool:
        """True for events of a stack nested in this one, once it is there."""
        return self.type == NESTED and self.physical_id not in ("", self.stack_id)

    @property
    def is_failure(self) -> bool:
        """True where something failed, or is rolled back."""
        return self.status.endswith("_FAILED") or "ROLLBACK" in self.status

    @property
    def is_end(self) -> bool:
        """True for the event that ends an operation."""
        return self.is_of_stack and not state_of(self.status).is_running

    def as_dict(self) -> dict[str, Any]:
        """Give it for a JSON line."""
        return {
            "at": self.at,
            "resource": self.logical_id,
            "physicalId": self.physical_id or None,
            "type": self.type,
            "status": self.status,
            "reason": self.reason or None,
        }


_FOLLOWS = re.compile(
    r"(creation|update|operation) cancelled|the following resource\(s\) failed|rollback requested",
    re.IGNORECASE,
)


def root_cause(events: Iterable[StackEvent]) -> StackEvent | None:
    """Give the first event that failed by itself, of events in the order of time; None where nothing failed.

    Where only the stack itself failed (a template that contradicts itself), that is the cause.
    """
    failed = [event for event in events if event.status.endswith("_FAILED")]
    own = [event for event in failed if not event.is_of_stack and not _FOLLOWS.search(event.reason)]
    return next(iter(own or failed), None)


_ADVICE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), advice)
    for pattern, advice in (
        (
            r"not authorized|access ?denied|UnauthorizedOperation|AccessDeniedException",
            "give the identity that deploys this permission, then deploy again",
        ),
        (
            r"already exists|AlreadyExists|already owned|BucketAlreadyOwnedByYou",
            (
                "something outside the stack has that name: a bucket or table kept from an earlier stack, most likely. "
                "Choose another name by --parameter; what the old one holds stays readable (docs/aws.md, 'After a destroy')"
            ),
        ),
        (
            r"NoSuchKey|NoSuchBucket|specified key does not exist",
            "the Lambda's zip is not where the stack was told; deploy without giving its place, so that it is uploaded",
        ),
        (
            r"InsufficientInstanceCapacity|vcpu|instance limit|VcpuLimitExceeded",
            (
                "the account may not start that many GPU instances: ask AWS for the quota 'Running On-Demand G and VT "
                "instances', or choose another instance type by --parameter"
            ),
        ),
        (r"limit ?exceeded|quota", "ask AWS (Service Quotas) for more of it, or remove what is not needed"),
        (
            r"cannot be assumed by Lambda|unable to assume|Invalid principal",
            "a new role takes seconds to be known everywhere: deploy again",
        ),
        (
            r"Unable to validate the following destination",
            (
                "the bucket may not invoke its target yet: deploy again; if it stays, the Lambda permission or the "
                "queue's policy does not name the bucket"
            ),
        ),
        (
            r"did not stabilize|CannotPullContainer|health check",
            (
                "the service does not come up: see `scripts/ecs-host-logs.sh` and the task's logs, and whether the image "
                "was pushed"
            ),
        ),
        (r"rate exceeded|throttl", "AWS was asked too fast: deploy again"),
        (
            r"valid|does not match|unsupported property|must be|constraint|expected",
            "a parameter's value does not suit the resource: correct it by --parameter and deploy again",
        ),
    )
)


def advice_for(reason: str) -> str:
    """Give what to do about a failure, by its words."""
    for pattern, advice in _ADVICE:
        if pattern.search(reason):
            return advice
    return "mend what the message names and deploy again; `llm-audit aws status --events` shows everything that happened"
