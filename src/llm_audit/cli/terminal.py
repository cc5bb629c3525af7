"""Text for terminals: what a caller or a model wrote never reaches one as it is (see ``query.visible``). Pure but for the console."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.text import Text

from llm_audit.query.amounts import shown_bytes, shown_count, shown_ms, shown_time
from llm_audit.query.visible import harmless

__all__ = [
    "cell",
    "console",
    "harmless",
    "shown_bytes",
    "shown_count",
    "shown_ms",
    "shown_time",
]

WIDE = 160
"""Columns of a table that goes to a file or a pipe, where no terminal says how wide it is."""


def cell(value: object, style: str = "") -> Text:
    """Give a table's cell: harmless, one line, never read as markup; nothing for None."""
    return Text("" if value is None else harmless(str(value), one_line=True), style=style)


def console(*, stderr: bool = False) -> Console:
    """Give a console for people: wide where it writes to no terminal, unless COLUMNS says otherwise."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else WIDE
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)
