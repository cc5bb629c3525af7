"""What a page says that could not be shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """A title, and what to do."""

    title: str
    words: str
