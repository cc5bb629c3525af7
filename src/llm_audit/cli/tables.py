"""Tables of calls and of statistics, for people."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.table import Table

from llm_audit.cli.terminal import cell, shown_count, shown_ms, shown_time
from llm_audit.index.schema import NO_STATUS, NOBODY, Item
from llm_audit.index.tallies import Grouping
from llm_audit.query.statistics import Percentiles, Statistics

PREVIEW_SHOWN = 120
"""Characters of a preview that reach a table's cell; the terminal's width cuts further."""


def calls_table(items: Iterable[Item]) -> Table:
    """Give a table of calls, one line each, in the order given."""
    table = _table()
    for name in ("time (UTC)", "source", "user", "type", "model", "status"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for name in ("latency", "first chunk", "tokens"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("prompt", no_wrap=True, overflow="ellipsis", ratio=1, min_width=8)
    table.add_column("request id", no_wrap=True, overflow="fold", min_width=36)
    for item in items:
        table.add_row(
            cell(shown_time(item.started_at)),
            cell(item.source or NOBODY),
            cell(item.user or NOBODY),
            cell(item.request_type or ""),
            cell(item.model or ""),
            cell(status_of(item), "green" if status_of(item) == "200" else "red"),
            cell(shown_ms(item.latency_ms)),
            cell(shown_ms(item.time_to_first_chunk_ms)),
            cell(tokens_of(item)),
            cell((item.prompt_preview or "")[:PREVIEW_SHOWN]),
            cell(item.request_id),
        )
    return table


def status_of(item: Item) -> str:
    """``200``, or the status with what went otherwise: ``403 rejected``, ``none upstream_timeout``."""
    status = NO_STATUS if item.status_code is None else str(item.status_code)
    return status if item.outcome == "complete" else f"{status} {item.outcome}"


def tokens_of(item: Item) -> str:
    """Tokens as ``12→30``: in, out; nothing where the model server counted none."""
    if item.input_tokens is None and item.output_tokens is None:
        return ""
    return f"{shown_count(item.input_tokens)}→{shown_count(item.output_tokens)}"


def statistics_table(statistics: Statistics) -> Table:
    """Give a table of statistics, one line for each group."""
    table = _table()
    if statistics.by is not Grouping.ALL:
        table.add_column(statistics.by.value, no_wrap=True, overflow="ellipsis")
    for name in ("calls", "errors", "p50", "p95", "p99", "first p50", "first p95", "first p99"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("tokens in", "tokens out", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in statistics.groups:
        named = [] if statistics.by is Grouping.ALL else [cell(group.group or NOBODY)]
        table.add_row(
            *named,
            cell(shown_count(group.calls)),
            cell(shown_count(group.errors), "red" if group.errors else ""),
            *map(cell, _shown(group.latency_ms)),
            *map(cell, _shown(group.first_chunk_ms)),
            cell(shown_count(group.input_tokens)),
            cell(shown_count(group.output_tokens)),
            cell(shown_count(group.total_tokens)),
        )
    return table


def _shown(values: Percentiles) -> tuple[str, str, str]:
    return shown_ms(values.p50), shown_ms(values.p95), shown_ms(values.p99)


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
