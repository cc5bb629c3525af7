"""What the function says of itself: JSON lines, and metrics as CloudWatch reads them out of a log. Pure.

Each invocation gives one line with its counts, which is a metric as well (CloudWatch User Guide, "Specification:
Embedded metric format"), and a line for each object that did not become an item. They name buckets, keys and
reasons in our own words; nothing of what a call said, no caller, no model: logs are read by more people than the
audit store is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

NAMESPACE = "CentralLLMAudit"

COUNTS = ("processed", "written", "skipped", "errors")
"""The function's answer; as metrics they are called ``IngestProcessed`` and so on."""

_AGE = "IngestAgeMs"
"""Milliseconds from the end of a call to its item in the table."""

AGES_PER_LINE = 100
"""Values that one metric may have in one line."""

_KEY_CHARACTERS = 1024


def trouble_line(
    outcome: str, reason: str, request_id: str | None, bucket: str | None = None, key: str | None = None
) -> str:
    """Give the line for one object (or one part of an event, without key) that did not become an item."""
    return _line(
        {
            "level": "WARNING" if outcome == "skipped" else "ERROR",
            "message": outcome,
            "reason": reason,
            "bucket": bucket,
            "key": None if key is None else key[:_KEY_CHARACTERS],
            "requestId": request_id,
        }
    )


def summary_lines(
    counts: Mapping[str, int], ages_ms: Sequence[int], function: str, at_ms: int, details: Mapping[str, Any]
) -> list[str]:
    """Give the line of one invocation, and more of them only where it wrote more than a hundred items.

    ``counts`` is the answer (``processed``, ``written``, ``skipped``, ``errors``); ``at_ms`` the wall clock.
    """
    values: dict[str, Any] = {f"Ingest{name.capitalize()}": counts[name] for name in COUNTS}
    first, rest = list(ages_ms[:AGES_PER_LINE]), ages_ms[AGES_PER_LINE:]
    if first:
        values[_AGE] = first
    level = "ERROR" if counts["errors"] else "INFO"
    further = (list(rest[start : start + AGES_PER_LINE]) for start in range(0, len(rest), AGES_PER_LINE))
    return [
        _metrics(values, function, at_ms, {"level": level, "message": "ingested", **details}),
        *(_metrics({_AGE: ages}, function, at_ms, {}) for ages in further),
    ]


def _metrics(values: Mapping[str, Any], function: str, at_ms: int, details: Mapping[str, Any]) -> str:
    metrics = [{"Name": name, "Unit": "Milliseconds" if name == _AGE else "Count"} for name in values]
    directive = {"Namespace": NAMESPACE, "Dimensions": [["FunctionName"]], "Metrics": metrics}
    return _line(
        {
            "_aws": {"Timestamp": at_ms, "CloudWatchMetrics": [directive]},
            "FunctionName": function,
            **values,
            **details,
        }
    )


def _line(members: Mapping[str, Any]) -> str:
    """Give one line of ASCII without control characters, whatever a key holds."""
    return json.dumps(
        {name: value for name, value in members.items() if value is not None}, separators=(",", ":")
    )
