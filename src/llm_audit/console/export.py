"""Lists as files: CSV that no spreadsheet executes, and JSON lines. Pure; line by line, so that a list may have any length."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from llm_audit.index.schema import Item, attributes

PREVIEWS = ("promptPreview", "responsePreview")

COLUMNS = (
    *("startedAt", "requestId", "source", "user", "requestType", "identitySource", "keyId"),
    *("operation", "model", "statusCode", "outcome", "latencyMs", "timeToFirstChunkMs", "stream"),
    *("inputTokens", "outputTokens", "totalTokens", "finishReasons", "requestBytes", "responseBytes"),
    *("requestSha256", "responseSha256", "auditBucket", "auditObjectKey", "auditObjectSha256"),
    *("clientAddress", "userAgent", "writerId", "sequence"),
)
"""What a spreadsheet gets; previews come last, for those who may see them."""

_BEGINS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")  # noqa: RUF001 - full-width forms, which spreadsheets read alike


@dataclass(frozen=True, slots=True)
class Form:
    """One form of file."""

    media_type: str
    lines: Callable[..., Iterator[str]]
    """``lines(items, with_previews=...)``."""


def formula_safe(value: Any) -> Any:
    """Give a cell that a spreadsheet shows and never computes: text that could begin a formula gets a quote in front.

    OWASP's advice against CSV injection. Numbers stay numbers.
    """
    if not isinstance(value, str):
        return value
    return f"'{value}" if value.lstrip(" \u00a0\ufeff").startswith(_BEGINS_FORMULA) else value


def csv_lines(items: Iterator[Item], *, with_previews: bool) -> Iterator[str]:
    """Give the list as CSV (RFC 4180), with a byte order mark, by which spreadsheets know UTF-8."""
    names = (*COLUMNS, *(PREVIEWS if with_previews else ()))
    yield "\ufeff" + _csv(names)
    for item in items:
        values = _values(item)
        yield _csv([formula_safe(values[name]) for name in names])


def json_lines(items: Iterator[Item], *, with_previews: bool) -> Iterator[str]:
    """Give the list as JSON lines, with the names of the table's attributes, without those that have no value."""
    for item in items:
        values = attributes(item)
        shown = {
            name: value
            for name, value in values.items()
            if value is not None and (with_previews or name not in PREVIEWS)
        }
        yield json.dumps(shown) + "\n"


FORMS = {
    "csv": Form("text/csv; charset=utf-8", csv_lines),
    "jsonl": Form("application/jsonl", json_lines),
}


def _values(item: Item) -> dict[str, Any]:
    values = attributes(item)
    return {
        **values,
        "startedAt": item.started_at,
        "source": item.source,
        "user": item.user,
        "finishReasons": " ".join(item.finish_reasons),
    }


def _csv(cells: Any) -> str:
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_NONNUMERIC).writerow(cells)
    return line.getvalue()
