"""Times, lengths and sizes as people read them. Pure."""

from __future__ import annotations

from typing import Any


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
