"""The table, on a terminal and in ``docs/reliability.md``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from faults.row import Result, Row

DOCUMENT = Path(__file__).parent.parent / "docs" / "reliability.md"
_BEGIN, _END = "<!-- table: written by python -m faults --write-docs -->", "<!-- end of table -->"
_HEADINGS = ("fault", "calls made", "acknowledged", "records", "duplicates", "gaps", "verdict")
_COLOURS = {"holds": "green", "BROKEN": "bold red", "not run": "yellow"}


def table(results: Sequence[Result]) -> Table:
    """Give the table for a terminal."""
    drawn = Table(title="What was done, and what was lost")
    for heading in _HEADINGS:
        drawn.add_column(heading, justify="left" if heading in {"fault", "verdict"} else "right")
    for result in results:
        for row in result.rows:
            drawn.add_row(*_numbers(row), Text(row.verdict, _COLOURS[row.verdict]))
    return drawn


def lines(result: Result, folder: Path) -> Text:
    """Say what one fault gave, at once; of a finding, how to see it again and where its files are."""
    said = Text()
    for row in result.rows:
        said.append(f"  {row.verdict:7} ", _COLOURS[row.verdict]).append(row.fault)
        said.append(f" · {row.skipped or row.note}\n" if row.skipped or row.note else "\n", "dim")
        for finding in row.findings:
            said.append(f"          {finding}\n", "red")
    if result.is_broken:
        said.append(f"          again: {result.again}\n          files: {folder}\n", "red")
    return said.append(f"  {result.seconds:.1f} s", "dim")


def _numbers(row: Row) -> tuple[str, ...]:
    counts = (row.calls, row.acknowledged, row.records, row.duplicates, row.gaps)
    return (row.fault, *("-" if count is None else f"{count:,}" for count in counts))


def write_docs(results: Sequence[Result]) -> None:
    """Put the rows of these faults into the document; the rows of faults that did not run stay as they are."""
    text = DOCUMENT.read_text()
    before, begin, rest = text.partition(_BEGIN)
    old, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT} has no place for the table: it needs the lines {_BEGIN} and {_END}")
    groups: dict[str, list[str]] = {}
    for line in old.splitlines():
        if named := re.match(r"\| `(\w+)` \|", line):
            groups.setdefault(named[1], []).append(line)
    groups |= {result.name: list(_markdown(result)) for result in results}
    heading = [
        "| `--only` | " + " | ".join((*_HEADINGS, "seen")) + " |",
        "|---|---|--:|--:|--:|--:|--:|---|---|",
    ]
    body = [line for name in sorted(groups) for line in groups[name]]
    DOCUMENT.write_text("\n".join((before + begin, *heading, *body, end + after)))


def _markdown(result: Result) -> Iterable[str]:
    for row in result.rows:
        seen = row.skipped or "; ".join((*row.findings, *([row.note] if row.note else ())))
        cells = (*_numbers(row), row.verdict, f"{seen} (seed {result.seed}, {result.scale.value})".strip())
        cleaned = (" ".join(cell.split()).replace("|", "\\|") for cell in cells)
        yield " | ".join((f"| `{result.name}`", *cleaned)) + " |"
