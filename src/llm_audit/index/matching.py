"""Selections tested item by item: what following an index needs, and the oracle of the indexes' tests. Pure."""

from __future__ import annotations

from typing import Any

from llm_audit.index.schema import Item, attributes, status_partition
from llm_audit.index.selection import Comparison, Condition, Selection, access_paths


def matches(item: Item, selection: Selection) -> bool:
    """Tell whether an item belongs to a selection."""
    values = comparable(item)
    whole = access_paths(selection)[-1]
    at = values[whole.sort]
    in_range = (whole.low is None or at >= whole.low) and (whole.high is None or at < whole.high)
    return in_range and all(holds(condition, values) for condition in whole.conditions)


def comparable(item: Item) -> dict[str, Any]:
    """Give an item's attributes as conditions compare them: a status is the same in whatever shard it lies."""
    return {**attributes(item), "statusPk": status_partition(item.status_code)}


def holds(condition: Condition, values: dict[str, Any]) -> bool:
    """Tell whether a condition holds for an item's attributes."""
    return any(
        values[name] is not None and _compare(condition.comparison, values[name], condition.value)
        for name in condition.attributes
    )


def _compare(comparison: Comparison, mine: Any, other: Any) -> bool:
    match comparison:
        case Comparison.EQUALS:
            return bool(mine == other)
        case Comparison.AT_LEAST:
            return bool(mine >= other)
        case Comparison.BELOW:
            return bool(mine < other)
        case Comparison.CONTAINS:
            return _ascii_lower(other) in _ascii_lower(mine)


_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def _ascii_lower(text: Any) -> str:
    """Fold as SQLite's LIKE does: ASCII letters only."""
    return str(text).translate(_ASCII_LOWER)
