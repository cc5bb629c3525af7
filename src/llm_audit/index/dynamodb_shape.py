"""What a table must look like to be this index, held against what DescribeTable tells. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm_audit.index.dynamodb_plans import INDEX_KEYS


def faults(description: Mapping[str, Any]) -> Iterator[str]:
    """Name whatever keeps a table from being read as an index, each in a few words; nothing where it is right."""
    if description.get("TableStatus") not in ("ACTIVE", "UPDATING"):
        yield f"the table is {description.get('TableStatus')}"
    if _keys(description) != ("id", "createdAt"):
        yield f"its key is {_keys(description)}, expected ('id', 'createdAt')"
    indexes = {one["IndexName"]: one for one in description.get("GlobalSecondaryIndexes", ())}
    for name, expected in INDEX_KEYS.items():
        index = indexes.get(name)
        if index is None:
            yield f"index {name} is missing"
        elif _keys(index) != expected:
            yield f"index {name} has the key {_keys(index)}, expected {expected}"
        elif index.get("IndexStatus") not in (None, "ACTIVE", "UPDATING"):
            yield f"index {name} is {index['IndexStatus']}: wait until it is ACTIVE"
        elif index.get("Projection", {}).get("ProjectionType", "ALL") != "ALL":
            yield f"index {name} does not hold whole items: its projection must be ALL"


def _keys(part: Mapping[str, Any]) -> tuple[str, ...]:
    by_type = {one["KeyType"]: one["AttributeName"] for one in part.get("KeySchema", ())}
    return tuple(by_type[kind] for kind in ("HASH", "RANGE") if kind in by_type)
