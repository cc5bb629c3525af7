"""How a selection is read from DynamoDB: which index, which partitions, what is left to test. Pure.

===============================  =======================  ==========================================
asked                            index                    partitions
===============================  =======================  ==========================================
a user, newest first             ``GSI_UserTime``         one
a source, newest first           the table                one
a status, newest first           ``GSI_StatusTime``       the unsharded one and every shard, merged
a source, slowest first          ``GSI_ProjectLatency``   one
anything newest first            ``GSI_StatusTime``       every status that there is, merged
anything else, slowest first     as newest first          read within the budget, then sorted
===============================  =======================  ==========================================

Of several that are asked, the first is read and the rest tested on what it gives; but a status other than 200
goes before a source, since errors are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llm_audit.index.dynamodb_items import Row
from llm_audit.index.schema import KEY_NAMES, NO_STATUS
from llm_audit.index.selection import (
    AccessPath,
    Comparison,
    Condition,
    Cursor,
    Order,
    Selection,
    access_paths,
    parse_cursor,
)

STATUS_INDEX = "GSI_StatusTime"
_INDEX_OF = {
    "id": None,
    "userIdPk": "GSI_UserTime",
    "statusPk": STATUS_INDEX,
    "latencyPk": "GSI_ProjectLatency",
}
"""Index of each partition attribute; None is the table itself."""

INDEX_KEYS = {
    "GSI_UserTime": ("userIdPk", "userIdSk"),
    STATUS_INDEX: ("statusPk", "statusSk"),
    "GSI_ProjectLatency": ("latencyPk", "latencySk"),
}
"""Partition and sort key of each index."""


@dataclass(frozen=True, slots=True)
class Walk:
    """One way through the table: partitions of one index, merged, in descending order of one sort key."""

    partition: str
    """The attribute that holds the partition."""
    value: str | None
    """The partition; None stands for every status. A status stands for its shards as well."""
    sort: str
    low: str | None
    """Inclusive."""
    high: str | None
    """Exclusive."""
    conditions: tuple[Condition, ...]
    is_in_order: bool = True
    """False where what is found must still be sorted: only what the budget reads can be, then."""

    @property
    def index(self) -> str | None:
        """Name of the index that is read; None is the table."""
        return _INDEX_OF[self.partition]

    @property
    def order_key(self) -> str:
        """The attribute by which what several partitions give is put in order."""
        return "latencySk" if self.sort == "latencySk" else "createdAt"

    @property
    def is_empty(self) -> bool:
        """True where nothing can lie between the bounds (DynamoDB refuses such a range)."""
        return self.low is not None and self.high is not None and self.low >= self.high


def walk_of(selection: Selection, cursor_text: str | None = None) -> Walk:
    """Choose the walk for a page of a selection. Raises InvalidCursorError."""
    cursor = None if cursor_text is None else parse_cursor(cursor_text, selection.order)
    if selection.order is Order.SLOWEST:
        if selection.source is not None:
            return _walk(access_paths(selection, cursor)[0])
        return replace(walk_of(replace(selection, order=Order.NEWEST)), is_in_order=False)
    *named, whole = access_paths(selection, cursor)
    ranked = sorted(named, key=lambda path: _rank(path, selection))
    return _walk(ranked[0]) if ranked else _walk_of_all(selection, cursor, whole)


def _rank(path: AccessPath, selection: Selection) -> int:
    assert path.partition is not None
    if path.partition[0] == "statusPk":
        return 3 if selection.status == "200" else 1
    return {"userIdPk": 0, "id": 2}[path.partition[0]]


def _walk(path: AccessPath) -> Walk:
    assert path.partition is not None
    return Walk(*path.partition, path.sort, path.low, path.high, path.conditions)


def _walk_of_all(selection: Selection, cursor: Cursor | None, whole: AccessPath) -> Walk:
    position = None if cursor is None else cursor.position("statusSk")
    ends = [end for end in (selection.until, position) if end is not None]
    return Walk("statusPk", None, "statusSk", selection.since, min(ends, default=None), whole.conditions)


def query_arguments(
    walk: Walk, value: str, start: Row | None, limit: int, names: Sequence[str] = ()
) -> dict[str, Any]:
    """Give boto3's arguments for the next part of one partition; ``names`` are the attributes wanted, or all.

    What DynamoDB can test is tested there: it costs the same reads, but nothing on the way. Conditions on keys are
    left out, since a filter must not name its index's.
    """
    named = {"#p": walk.partition, "#s": walk.sort}
    values: Row = {":p": {"S": value}}
    clause = "#p = :p"
    if walk.low is not None:
        values[":low"] = {"S": walk.low}
        clause += " AND #s >= :low"
    if walk.high is not None:
        values[":high"] = {"S": walk.high}
        # BETWEEN includes its end, which the reader drops.
        clause = (
            "#p = :p AND #s BETWEEN :low AND :high" if walk.low is not None else f"{clause} AND #s < :high"
        )
    if walk.low is None and walk.high is None:
        del named["#s"]
    arguments: dict[str, Any] = {
        "KeyConditionExpression": clause,
        "ScanIndexForward": False,
        "Limit": limit,
    }
    if walk.index is not None:
        arguments["IndexName"] = walk.index
    if start is not None:
        arguments["ExclusiveStartKey"] = start
    tests = [_test(condition, number, named, values) for number, condition in enumerate(walk.conditions)]
    if any(tests):
        arguments["FilterExpression"] = " AND ".join(filter(None, tests))
    if names:
        wanted = {f"#w{number}": name for number, name in enumerate(names)}
        arguments["ProjectionExpression"] = ", ".join(wanted)
        named |= wanted
    return {**arguments, "ExpressionAttributeNames": named, "ExpressionAttributeValues": values}


_OPERATORS = {Comparison.EQUALS: "=", Comparison.AT_LEAST: ">=", Comparison.BELOW: "<"}


def _test(condition: Condition, number: int, named: dict[str, str], values: Row) -> str:
    """Give a condition as DynamoDB tests it; nothing where it is tested on what comes back alone."""
    attribute, value = condition.attributes[0], condition.value
    if attribute == "statusPk" and condition.comparison is Comparison.EQUALS:
        # The status without its shard.
        status = str(value).removeprefix("status#")
        named[f"#c{number}"] = "statusCode"
        if status == NO_STATUS:
            return f"attribute_not_exists(#c{number})"
        values[f":c{number}"] = {"N": status}
        return f"#c{number} = :c{number}"
    if len(condition.attributes) > 1 or condition.comparison not in _OPERATORS or attribute in KEY_NAMES:
        return ""
    named[f"#c{number}"] = attribute
    values[f":c{number}"] = {"N": str(value)} if isinstance(value, int) else {"S": value}
    return f"#c{number} {_OPERATORS[condition.comparison]} :c{number}"
