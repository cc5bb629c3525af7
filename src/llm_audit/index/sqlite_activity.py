"""Calls over time in SQL, over one snapshot. See ``activity`` for what is counted."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from typing import Any

from llm_audit.index.activity import Activity, Share, Slot
from llm_audit.index.schema import LATENCY_DIGITS, NOBODY
from llm_audit.index.sqlite_schema import Plan

_COUNTS = """count(*),
    sum(outcome <> 'complete' OR statusCode IS NULL OR statusCode >= 400),
    coalesce(sum(inputTokens), 0), coalesce(sum(outputTokens), 0)"""


def activity(connection: sqlite3.Connection, plan: Plan, slot_characters: int) -> Activity:
    """Count the calls that a plan finds."""
    slot = f"substr(createdAt, 1, {slot_characters:d})"
    connection.execute("BEGIN")
    try:
        slots = {name: Slot(*counts) for name, *counts in _rows(connection, plan, slot, _COUNTS)}
        for measure in ("latencyMs", "timeToFirstChunkMs"):
            for name, value, calls in _rows(connection, plan, f"{slot}, {_rounded(measure)}", "count(*)"):
                if value is not None:
                    _counter(slots[name], measure)[value] = calls
        models = {
            (_name(source, "project#"), model): Share(*counts)
            for source, model, *counts in _rows(connection, plan, "id, model", _COUNTS)
        }
        users = {
            _name(user, "user#"): Share(*counts)
            for user, *counts in _rows(connection, plan, "userIdPk", _COUNTS)
        }
    finally:
        connection.execute("COMMIT")
    return Activity(slots, models, users)


def _rows(connection: sqlite3.Connection, plan: Plan, groups: str, counts: str) -> Iterator[tuple[Any, ...]]:
    statement = f"SELECT {groups}, {counts} {plan.source()} GROUP BY {groups}"
    return connection.execute(statement, (*plan.range_parameters, *plan.parameters))


def _counter(slot: Slot, measure: str) -> Counter[int]:
    return slot.latency_ms if measure == "latencyMs" else slot.first_chunk_ms


def _rounded(column: str) -> str:
    """Give ``activity.rounded`` as an expression."""
    steps = " ".join(
        f"WHEN {column} < {1000 * 10**power} THEN {column} / {10**power} * {10**power}"
        for power in range(LATENCY_DIGITS)
    )
    return f"CASE {steps} END"


def _name(group: str, prefix: str) -> str | None:
    name = group.removeprefix(prefix)
    return None if name == NOBODY else name
