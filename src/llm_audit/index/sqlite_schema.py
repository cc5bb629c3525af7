"""The embedded index's table, and the SQL of its queries. Pure.

Columns carry the item's names. The previews, which are wide, stand last: a scan over the rest does not read
them. Each access path of ``selection`` has its index here, and a few more that only SQLite offers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llm_audit.index.schema import ATTRIBUTE_NAMES, Item, attributes, item_from_attributes
from llm_audit.index.selection import (
    AccessPath,
    Comparison,
    Condition,
    Order,
    Selection,
    access_paths,
    parse_cursor,
)

FORMAT = 1
"""``PRAGMA user_version``; raised when an older program could no longer read the file."""

APPLICATION_ID = 0x4C4C4D41
"""``PRAGMA application_id``: "LLMA"."""

_WIDE = ("promptPreview", "responsePreview")
COLUMNS = (*(name for name in ATTRIBUTE_NAMES if name not in _WIDE), *_WIDE)
_INTEGERS = frozenset(
    [
        "statusCode",
        "latencyMs",
        "timeToFirstChunkMs",
        "stream",
        "inputTokens",
        "outputTokens",
        "totalTokens",
        "requestBytes",
        "responseBytes",
        "sequence",
        "schemaVersion",
        "expiresAt",
    ]
)

_TIME_INDEX = "by_time"
_COUNTED = (
    *("latencyMs", "timeToFirstChunkMs", "id", "userIdPk", "statusPk", "requestType", "model", "outcome"),
    *("statusCode", "inputTokens", "outputTokens", "totalTokens"),
)
"""What statistics count and are narrowed by: they are read from the time index alone, never from rows."""

INDEXES = {
    "by_source": ("id", "createdAt"),
    "by_user": ("userIdPk", "userIdSk"),
    "by_status": ("statusPk", "statusSk"),
    "by_source_latency": ("latencyPk", "latencySk"),
    _TIME_INDEX: ("createdAt", *_COUNTED),
    "by_latency": ("latencySk",),
    "by_outcome": ("outcome", "createdAt"),
    "by_model": ("model", "createdAt"),
    "by_request_type": ("requestType", "createdAt"),
    "by_request_id": ("requestId",),
}
"""Index name to its columns; ``by_source`` is unique, as the table's key is in DynamoDB."""

_BY_TIME_TOO = {("outcome",), ("model",), ("requestType",)}
_INDEX_OF = {columns[0]: name for name, columns in INDEXES.items()}


def create_statements() -> tuple[str, ...]:
    """Give the statements that make an empty index; each may be repeated."""
    columns = ", ".join(f"{name} {'INTEGER' if name in _INTEGERS else 'TEXT'}" for name in COLUMNS)
    indexes = (
        f"CREATE {'UNIQUE ' if name == 'by_source' else ''}INDEX IF NOT EXISTS {name} ON items ({', '.join(on)})"
        for name, on in INDEXES.items()
    )
    return (
        f"CREATE TABLE IF NOT EXISTS items (number INTEGER PRIMARY KEY AUTOINCREMENT, {columns})",
        *indexes,
        f"PRAGMA application_id = {APPLICATION_ID}",
        f"PRAGMA user_version = {FORMAT}",
    )


def upsert_statement() -> str:
    """Give the statement that writes one item; written again, it keeps its number (its place in `tail`)."""
    replaced = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name not in ("id", "createdAt"))
    return (
        f"INSERT INTO items ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) "  # noqa: S608 - our names
        f"ON CONFLICT (id, createdAt) DO UPDATE SET {replaced}"
    )


def row_of(item: Item) -> tuple[Any, ...]:
    """Give an item as a row, in the order of ``COLUMNS``."""
    values = attributes(item)
    values["finishReasons"] = json.dumps(values["finishReasons"], ensure_ascii=False)
    return tuple(values[name] for name in COLUMNS)


def item_of(row: Sequence[Any]) -> Item:
    """Give back the item of a row."""
    values = dict(zip(COLUMNS, row, strict=True))
    values["finishReasons"] = json.loads(values["finishReasons"])
    return item_from_attributes(values)


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to run a selection: the index to use, and clauses with their parameters."""

    index: str
    is_ordered: bool
    """False where the rows must still be sorted, which is only worth while for few."""
    sort: str
    range_clauses: tuple[str, ...]
    range_parameters: tuple[str | int, ...]
    clauses: tuple[str, ...]
    parameters: tuple[str | int, ...]

    def source(self) -> str:
        """Give the FROM and WHERE part."""
        where = " AND ".join((*self.range_clauses, *self.clauses))
        return f"FROM items INDEXED BY {self.index}" + (f" WHERE {where}" if where else "")

    def page(self, limit: int) -> tuple[str, tuple[str | int, ...]]:
        """Give statement and parameters for one page."""
        statement = f"SELECT {', '.join(COLUMNS)} {self.source()} ORDER BY {self.sort} DESC LIMIT ?"
        return statement, (*self.range_parameters, *self.parameters, limit)

    def probe(self, limit: int) -> tuple[str, tuple[str | int, ...]]:
        """Give a statement that counts, up to a limit, the rows the index alone leaves."""
        where = f" WHERE {' AND '.join(self.range_clauses)}" if self.range_clauses else ""
        inner = f"SELECT 1 FROM items INDEXED BY {self.index}{where} LIMIT ?"  # noqa: S608 - our names
        return f"SELECT count(*) FROM ({inner})", (*self.range_parameters, limit)  # noqa: S608 - our names


def plans(selection: Selection, cursor_text: str | None = None) -> tuple[Plan, ...]:
    """Give every plan for a selection, the usually best first; never empty. Raises InvalidCursorError.

    First the access paths that every index has, then those that only SQLite has. One that is not
    ``is_ordered`` must be sorted, which pays where a probe finds few rows.
    """
    cursor = None if cursor_text is None else parse_cursor(cursor_text, selection.order)
    *named, whole = access_paths(selection, cursor)
    by_latency = whole.sort == "latencySk"
    extra = [] if by_latency else _equality_plans(whole)
    return (*map(_plan_of, named), *extra, *_sorted_plans(whole, selection), _plan_of(whole))


def _plan_of(path: AccessPath) -> Plan:
    clauses, parameters = _rendered(path.conditions, path.sort)
    keys = [] if path.partition is None else [(f"{path.partition[0]} = ?", path.partition[1])]
    ranged = [*keys, *_bounds(path.sort, path.low, path.high)]
    return Plan(
        index=_INDEX_OF[path.partition[0] if path.partition else path.sort],
        is_ordered=True,
        sort=path.sort,
        range_clauses=tuple(clause for clause, _ in ranged),
        range_parameters=tuple(value for _, value in ranged),
        clauses=clauses,
        parameters=parameters,
    )


def _bounds(sort: str, low: str | None, high: str | None) -> list[tuple[str, str]]:
    bounds = ((f"{sort} >= ?", low), (f"{sort} < ?", high))
    return [(clause, value) for clause, value in bounds if value is not None]


def _equality_plans(whole: AccessPath) -> list[Plan]:
    """Turn a path over the whole table, in time order, into plans over each equality SQLite has an index for."""
    found = []
    for condition in whole.conditions:
        name = condition.attributes[0]
        if condition.comparison is Comparison.EQUALS and condition.attributes in _BY_TIME_TOO:
            others = tuple(other for other in whole.conditions if other is not condition)
            found.append(_plan_of(replace(whole, partition=(name, str(condition.value)), conditions=others)))
    return found


def _sorted_plans(whole: AccessPath, selection: Selection) -> list[Plan]:
    """Give plans that sort what an index of the other order finds.

    The slowest of a user's calls, or of an hour's; the newest of the few calls that took a minute.
    """
    other = Order.SLOWEST if selection.order is Order.NEWEST else Order.NEWEST
    paths = access_paths(replace(selection, order=other))
    found = [*map(_plan_of, paths), *(_equality_plans(paths[-1]) if other is Order.NEWEST else [])]
    bounds = _bounds(whole.sort, whole.low, whole.high)
    return [
        replace(
            plan,
            is_ordered=False,
            sort=whole.sort,
            clauses=(*plan.clauses, *(clause for clause, _ in bounds)),
            parameters=(*plan.parameters, *(value for _, value in bounds)),
        )
        for plan in found
        if plan.range_clauses and (other is Order.NEWEST or selection.min_latency_ms is not None)
    ]


def _rendered(conditions: Sequence[Condition], sort: str) -> tuple[tuple[str, ...], tuple[str | int, ...]]:
    clauses: list[str] = []
    parameters: list[str | int] = []
    for condition in conditions:
        value = condition.value
        if condition.comparison is Comparison.CONTAINS:
            value = f"%{escaped(str(value))}%"
        names = (
            _TIME_IN_LATENCY if (name, sort) == ("createdAt", "latencySk") else _known(name)
            for name in condition.attributes
        )
        form = _FORMS[condition.comparison]
        clauses.append("(" + " OR ".join(f"{name} {form}" for name in names) + ")")
        parameters += [value] * len(condition.attributes)
    return tuple(clauses), tuple(parameters)


_TIME_IN_LATENCY = "substr(latencySk, 20)"
"""``createdAt`` as the end of ``latencySk``: tested on the index, without reading the row."""

_FORMS = {
    Comparison.EQUALS: "= ?",
    Comparison.AT_LEAST: ">= ?",
    Comparison.BELOW: "< ?",
    Comparison.CONTAINS: "LIKE ? ESCAPE '\\'",
}


def escaped(text: str) -> str:
    """Escape what LIKE takes for wildcards."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _known(name: str) -> str:
    """Only our own names reach a statement; values are always parameters."""
    if name not in COLUMNS:
        raise ValueError(f"{name!r} is no attribute of an item; there are {', '.join(COLUMNS)}")
    return name
