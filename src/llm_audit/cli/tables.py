"""Tables of calls and of statistics, for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

from llm_audit.cli.terminal import WIDE, cell, harmless, shown_count, shown_ms, shown_time
from llm_audit.index.schema import NO_STATUS, NOBODY, Item
from llm_audit.index.tallies import Grouping, is_error
from llm_audit.query.statistics import Percentiles, Statistics

_GAP = 2
"""Blanks between columns."""

_LEAST_PROMPT = 16
"""Characters below which a prompt is not worth showing."""

_DROPPED_FIRST = ("first chunk", "type", "prompt", "tokens", "model", "latency", "status", "user", "source")
"""Columns that a narrow terminal does without, in this order; the request id is never cut."""


def calls_table(items: Sequence[Item], width: int = WIDE) -> Table:
    """Give a table of calls, one line each, in the order given, at most ``width`` columns wide if it can be."""
    columns = {name: [read(item) for item in items] for name, read in _COLUMNS.items()}
    sizes = {name: max(map(cell_len, [name, *values])) for name, values in columns.items()}
    sizes["prompt"] = _LEAST_PROMPT
    for name in _DROPPED_FIRST:
        if _total(sizes) > width:
            del sizes[name], columns[name]
    if "prompt" in sizes:
        room = width - _total(sizes) + _LEAST_PROMPT
        columns["prompt"] = [_cut(text, room) for text in columns["prompt"]]
    table = _table()
    for name in columns:
        is_number = name in ("latency", "first chunk", "tokens")
        least = sizes[name] if name == "request id" else None
        table.add_column(
            name,
            no_wrap=True,
            overflow="ellipsis",
            min_width=least,
            justify="right" if is_number else "left",
        )
    for row in zip(items, *columns.values(), strict=True):
        table.add_row(
            *(Text(text, _style(name, row[0])) for name, text in zip(columns, row[1:], strict=True))
        )
    return table


def _total(sizes: dict[str, int]) -> int:
    return sum(sizes.values()) + _GAP * (len(sizes) - 1)


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def _style(column: str, item: Item) -> str:
    if column != "status":
        return ""
    return "red" if is_error(item) else "green"


def status_of(item: Item) -> str:
    """``200``, or the status with what went otherwise: ``403 rejected``, ``none upstream_timeout``."""
    status = NO_STATUS if item.status_code is None else str(item.status_code)
    return status if item.outcome == "complete" else f"{status} {item.outcome}"


def tokens_of(item: Item) -> str:
    """Tokens as ``12→30``: in, out; nothing where the model server counted none."""
    if item.input_tokens is None and item.output_tokens is None:
        return ""
    return f"{shown_count(item.input_tokens)}→{shown_count(item.output_tokens)}"


def _plain(value: object) -> str:
    return "" if value is None else harmless(str(value), one_line=True)


_COLUMNS: dict[str, Callable[[Item], str]] = {
    "time (UTC)": lambda item: shown_time(item.started_at),
    "source": lambda item: _plain(item.source or NOBODY),
    "user": lambda item: _plain(item.user or NOBODY),
    "type": lambda item: _plain(item.request_type),
    "model": lambda item: _plain(item.model),
    "status": lambda item: _plain(status_of(item)),
    "latency": lambda item: shown_ms(item.latency_ms),
    "first chunk": lambda item: shown_ms(item.time_to_first_chunk_ms),
    "tokens": tokens_of,
    "prompt": lambda item: _plain((item.prompt_preview or "")[:400]),
    "request id": lambda item: _plain(item.request_id),
}


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
    return Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold"
    )
