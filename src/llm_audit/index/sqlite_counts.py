"""Counts of calls in SQL: exact, over one snapshot. See ``tallies`` for what a tally is."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import Any

from llm_audit.index.schema import NOBODY
from llm_audit.index.sqlite_schema import Plan
from llm_audit.index.tallies import Grouping, Tally, in_order

_GROUP = {
    Grouping.ALL: ("NULL", ""),
    Grouping.SOURCE: ("id", "project#"),
    Grouping.USER: ("userIdPk", "user#"),
    Grouping.MODEL: ("model", ""),
}
_TOTALS = """count(*),
    sum(outcome <> 'complete' OR statusCode IS NULL OR statusCode >= 400),
    coalesce(sum(inputTokens), 0), coalesce(sum(outputTokens), 0), coalesce(sum(totalTokens), 0)"""


def count(connection: sqlite3.Connection, plan: Plan, by: Grouping) -> tuple[Tally, ...]:
    """Count the calls that a plan finds, by group, most calls first."""
    connection.execute("BEGIN")
    try:
        totals = _grouped(connection, plan, by, _TOTALS)
        latencies = _histograms(connection, plan, by, "latencyMs")
        first_chunks = _histograms(connection, plan, by, "timeToFirstChunkMs")
    finally:
        connection.execute("COMMIT")
    prefix = _GROUP[by][1]
    return in_order(
        Tally(
            group=_name(group, prefix),
            calls=calls,
            errors=errors,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            total_tokens=total_tokens,
            latency_ms=latencies.get(group, Counter()),
            first_chunk_ms=first_chunks.get(group, Counter()),
        )
        for group, calls, errors, input_tokens, output_tokens, total_tokens in totals
        if calls
    )


def _histograms(
    connection: sqlite3.Connection, plan: Plan, by: Grouping, measure: str
) -> dict[str | None, Counter[int]]:
    found: dict[str | None, Counter[int]] = {}
    for group, milliseconds, calls in _grouped(connection, plan, by, f"{measure}, count(*)", measure):
        if milliseconds is not None:
            found.setdefault(group, Counter())[milliseconds] = calls
    return found


def _grouped(
    connection: sqlite3.Connection, plan: Plan, by: Grouping, columns: str, then_by: str = ""
) -> list[tuple[Any, ...]]:
    group = _GROUP[by][0]
    groups = ", ".join(name for name in (group, then_by) if name not in ("", "NULL"))
    statement = f"SELECT {group}, {columns} {plan.source()}" + (f" GROUP BY {groups}" if groups else "")
    return connection.execute(statement, (*plan.range_parameters, *plan.parameters)).fetchall()


def _name(group: str | None, prefix: str) -> str | None:
    name = None if group is None else group.removeprefix(prefix)
    return None if prefix and name == NOBODY else name
