"""What verification can find, by name. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from llm_audit.integrity.digests import Place


class Kind(StrEnum):
    """What is wrong; docs/evidence.md says how each comes about. ``verifier/verify.py`` uses the same words."""

    MODIFIED = "modified"
    """An object is not what its digest lists; or a digest's entries are not what its head signs."""
    TRUNCATED = "truncated"
    """An object ends early; or a chain of digests ends before the digest that was pinned."""
    MISSING = "missing"
    """A listed object is not there; or a record that a digest counts was never listed."""
    UNLISTED = "unlisted"
    """An object that no digest lists, and that cannot be one that a later digest will list."""
    DUPLICATED = "duplicated"
    """Two for one place: objects, entries, or digests of one number."""
    REORDERED = "reordered"
    """Something stands in another's place: swapped objects, a replayed digest, entries out of order."""
    CHAIN_GAP = "chain-gap"
    """Digests or records do not link: numbers, digests, periods, sequences."""
    BAD_SIGNATURE = "bad-signature"
    UNKNOWN_KEY = "unknown-key"
    """Signed by a key that was not given; or by one that had been replaced."""
    CLOCK_BACKWARDS = "clock-backwards"
    UNREADABLE = "unreadable"
    """No digest, or no record, as this version knows them."""


@dataclass(frozen=True, slots=True)
class Range:
    """Which records are affected: a writer's, from one place to another, both included.

    Where digests are missing: those between two places, of which the first may be unknown (None: from the beginning) and the
    second too (to the end).
    """

    writer: str | None = None
    first: Place | None = None
    last: Place | None = None

    def words(self) -> str:
        """Say it to people; nothing where nothing is known."""
        if self.writer is None:
            return ""
        if self.first is None and self.last is None:
            return self.writer
        if self.first == self.last:
            return f"{self.writer}, {_words(self.first)}"
        return f"{self.writer}, {_words(self.first)} to {_words(self.last)}"


def _words(place: Place | None) -> str:
    return "its beginning or end" if place is None else f"boot {place[0]} sequence {place[1]}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. ``subject`` is the key of the object or digest that shows it."""

    kind: Kind
    subject: str
    detail: str
    affected: Range = Range()

    def as_dict(self) -> dict[str, Any]:
        """Give it for a JSON line."""
        return {
            "finding": self.kind.value,
            "object": self.subject,
            "detail": self.detail,
            "writer": self.affected.writer,
            "first": self.affected.first and list(self.affected.first),
            "last": self.affected.last and list(self.affected.last),
        }
