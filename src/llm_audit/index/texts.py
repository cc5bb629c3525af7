"""Texts of strangers, made fit for an item: cut, encodable, or only described. Pure, standard library only."""

from __future__ import annotations

import unicodedata
from typing import Any

from llm_audit.record.schema import DERIVED_STRING_LIMIT

_JOINING = frozenset({"\u200d", "\ufe0e", "\ufe0f"})
"""Zero-width joiner and variation selectors: they belong to the character before."""

_LONGEST_CLUSTER = 16
"""Code points that a preview's end may give up so as not to cut a visible character in two."""


def cut(value: Any, limit: int) -> str | None:
    """Cut to ``limit`` characters; what UTF-8 cannot say (lone surrogates) becomes ``?``."""
    if not isinstance(value, str):
        return None
    text = value[:limit]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def preview(value: Any, limit: int) -> str | None:
    """Cut to ``limit`` characters, or a few less where that would part an accent from its letter."""
    if not isinstance(value, str) or len(value) <= limit:
        return cut(value, limit)
    for end in range(limit, max(0, limit - _LONGEST_CLUSTER), -1):
        if not (_extends(value[end]) or value[end - 1] == "\u200d"):
            return cut(value, end)
    return cut(value, limit)


def _extends(character: str) -> bool:
    return not character.isascii() and (
        character in _JOINING
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
        or unicodedata.category(character) in ("Mn", "Me", "Mc")
    )


def short(value: Any) -> str | None:
    """Cut to what an item keeps of a derived string."""
    return cut(value, DERIVED_STRING_LIMIT)


def kind(value: Any) -> str:
    """Say what a stranger's value is, without saying it: it may be anything, and this goes into logs."""
    if isinstance(value, str):
        return f"a text of {len(value)} characters"
    if value is None or isinstance(value, bool | int | float):
        return ascii(value)[:80]
    return f"a {type(value).__name__}"
