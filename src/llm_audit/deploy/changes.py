"""What a change set would do, for people. Pure.

The one line nobody may overlook: a resource that holds audit data is replaced or removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DATA_TYPES = frozenset(
    {
        "AWS::S3::Bucket",
        "AWS::DynamoDB::Table",
        "AWS::DynamoDB::GlobalTable",
        "AWS::ECR::Repository",
        "AWS::EC2::Volume",
    }
)
"""Resources that hold what cannot be made again from the template."""


@dataclass(frozen=True, slots=True)
class Change:
    """One resource's change. ``action``: Add, Modify, Remove, Import or Dynamic (decided while it runs)."""

    action: str
    logical_id: str
    physical_id: str
    type: str
    replacement: str
    """True, False, Conditional, or empty where it does not apply."""
    properties: tuple[str, ...]
    """What changes of it, where AWS says."""
    keeps_data: bool
    """True where a removed or replaced resource stays in the account."""

    @property
    def mark(self) -> str:
        """One character: ``+`` added, ``~`` changed, ``!`` replaced, ``-`` removed, ``?`` decided later."""
        if self.action == "Modify":
            return "!" if self.is_replaced else "~"
        return {"Add": "+", "Remove": "-", "Import": "+"}.get(self.action, "?")

    @property
    def is_replaced(self) -> bool:
        """True where it may be made anew, with another physical id."""
        return self.replacement in ("True", "Conditional")

    @property
    def is_of_data(self) -> bool:
        """True where audit data lies in a resource that goes away or is replaced."""
        return self.type in DATA_TYPES and (self.action == "Remove" or self.is_replaced)

    @property
    def words(self) -> str:
        """Say what happens, beyond the mark."""
        said = {"Add": "is made", "Remove": "is removed", "Import": "is taken over", "Dynamic": "may change"}
        text = said.get(self.action, "changes")
        if self.action == "Modify" and self.is_replaced:
            text = "is replaced" if self.replacement == "True" else "may be replaced"
        if (
            self.action in ("Remove", "Modify")
            and self.keeps_data
            and (self.is_replaced or self.action == "Remove")
        ):
            text += " in the stack; the old one stays in the account"
        if self.properties:
            text += f" ({', '.join(self.properties)})"
        return text

    def as_dict(self) -> dict[str, Any]:
        """Give it for a JSON line."""
        return {
            "action": self.action,
            "resource": self.logical_id,
            "physicalId": self.physical_id or None,
            "type": self.type,
            "replacement": self.replacement or None,
            "properties": list(self.properties),
            "holdsData": self.is_of_data,
        }


def change_from(found: dict[str, Any]) -> Change | None:
    """Read one member of DescribeChangeSet's ``Changes``; None for one that is no resource's."""
    change = found.get("ResourceChange")
    if not isinstance(change, dict):
        return None
    targets = [detail.get("Target") or {} for detail in change.get("Details") or ()]
    named = (target.get("Name") or target.get("Attribute") for target in targets)
    return Change(
        action=str(change.get("Action") or ""),
        logical_id=str(change.get("LogicalResourceId") or ""),
        physical_id=str(change.get("PhysicalResourceId") or ""),
        type=str(change.get("ResourceType") or ""),
        replacement=str(change.get("Replacement") or "") if change.get("Action") == "Modify" else "",
        properties=tuple(dict.fromkeys(str(name) for name in named if name)),
        keeps_data="Retain" in str(change.get("PolicyAction") or ""),
    )


def sentence(changes: tuple[Change, ...]) -> str:
    """Count the changes in words."""
    counts = {mark: sum(change.mark == mark for change in changes) for mark in "+~!-?"}
    words = {"+": "added", "~": "changed", "!": "replaced", "-": "removed", "?": "decided later"}
    parts = [f"{count} {words[mark]}" for mark, count in counts.items() if count]
    return ", ".join(parts) or "nothing changes"
