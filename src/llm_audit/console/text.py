"""How templates show values: strangers' text with its controls named, amounts, times. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from llm_audit.query.amounts import shown_bytes, shown_count, shown_ms, shown_time
from llm_audit.query.visible import pieces

SHOWN_CHARACTERS = 20_000
"""Of one text on a page; a body of megabytes is cut there and can be downloaded whole."""


def visible(text: object) -> Markup:
    """Give a stranger's text as markup: escaped, isolated from the direction around it, its controls named."""
    shown = Markup("").join(
        Markup('<span class="named" title="a character that is not shown">{}</span>').format(piece)
        if is_named
        else escape(piece)
        for is_named, piece in pieces("" if text is None else str(text))
    )
    return Markup('<bdi dir="auto">{}</bdi>').format(shown)


def shortened(text: str, characters: int = SHOWN_CHARACTERS) -> tuple[str, int]:
    """Give a text's beginning and how many characters are left out."""
    return text[:characters], max(0, len(text) - characters)


def time_tag(iso: str | None) -> Markup:
    """Give a time as people read it, and as machines do."""
    if not iso:
        return Markup("")
    return Markup('<time datetime="{}">{}</time>').format(iso, shown_time(iso))


def time_of_ms(milliseconds: int | None) -> Markup:
    """Give a time that is milliseconds since the epoch."""
    if milliseconds is None:
        return Markup("")
    iso = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return time_tag(iso.replace("+00:00", "Z"))


def plural(count: int, one: str, many: str | None = None) -> str:
    """Give a count with its noun: ``1 call``, ``1,200 calls``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def short_count(value: int | None) -> str:
    """Give a large count in few characters: ``950``, ``12.3 k``, ``4.56 M``."""
    if value is None:
        return ""
    size = float(value)
    for unit in ("", " k", " M", " G"):
        if size < 1000:
            return f"{value}" if not unit else f"{size:.3g}{unit}"
        size /= 1000
    return f"{size:,.3g} T"


def coded(text: str) -> Markup:
    """Give words of ours with what stands between back-ticks as code."""
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(text.split("`"))
    )


FILTERS: Mapping[str, Callable[..., Any]] = {
    "visible": visible,
    "time": time_tag,
    "time_ms": time_of_ms,
    "ms": shown_ms,
    "bytes": shown_bytes,
    "count": shown_count,
    "plural": plural,
    "coded": coded,
    "short": short_count,
}
