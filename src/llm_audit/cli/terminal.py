"""Text for terminals: what a caller or a model wrote, made harmless, and numbers made readable. Pure but for the console.

A prompt may hold escape sequences that move the cursor, rewrite the screen or answer as if typed, and
directional marks that show text in another order than it has. None of it reaches a terminal.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

_DANGEROUS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls but tab and line feed; C1, where 0x9B begins a sequence
    "\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible and directional marks; joiners, which emoji and many scripts need, may stay
    "\ud800-\udfff\U000e0000-\U000e007f]"  # lone surrogates; tag characters
)

WIDE = 160
"""Columns of a table that goes to a file or a pipe, where no terminal says how wide it is."""


def harmless(text: str, *, one_line: bool = False) -> str:
    r"""Give text with everything replaced that a terminal would obey, as ``\x1b`` or ``\u202e``."""
    if one_line:
        text = " ".join(text.split())
    return _DANGEROUS.sub(lambda found: _escaped(found.group()), text)


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def cell(value: object, style: str = "") -> Text:
    """Give a table's cell: harmless, one line, never read as markup; nothing for None."""
    return Text("" if value is None else harmless(str(value), one_line=True), style=style)


def console(*, stderr: bool = False) -> Console:
    """Give a console for people: wide where it writes to no terminal, unless COLUMNS says otherwise."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else WIDE
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def shown_time(iso: str) -> str:
    """``2026-11-24T12:00:00.001Z`` as ``2026-11-24 12:00:00``."""
    return iso[:19].replace("T", " ")


def shown_ms(milliseconds: int | None) -> str:
    """Milliseconds as ``85 ms``, ``1.25 s``, ``2 min 5 s`` or ``3 h 20 min``; nothing for None."""
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    if milliseconds < 59_995:
        return f"{milliseconds / 1000:.2f} s"
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s"
    return f"{minutes // 60} h {minutes % 60} min"


def shown_bytes(count: int | None) -> str:
    """Bytes as ``512 B``, ``1.5 KiB``, ``3.0 GiB``; nothing for None."""
    if count is None:
        return ""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def shown_count(value: Any) -> str:
    """Give a count with thin grouping, nothing for None."""
    return "" if value is None else f"{value:,}"
