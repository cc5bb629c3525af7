"""The protocol that every index keeps (SQLite here, DynamoDB in the cloud), and what can go wrong with one.

An index is derived: it can be thrown away and built again from the objects alone (``llm-audit reindex``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from llm_audit.index.activity import Activity
from llm_audit.index.errors import IndexDamagedError, IndexMissingError, IndexUnavailableError
from llm_audit.index.schema import Item
from llm_audit.index.selection import Selection
from llm_audit.index.tallies import Grouping, Tallies

__all__ = [
    "Arrivals",
    "Index",
    "IndexDamagedError",
    "IndexMissingError",
    "IndexReader",
    "IndexUnavailableError",
    "Page",
]


@dataclass(frozen=True, slots=True)
class Page:
    """Some items in order. ``cursor`` is None at the end of the list; ``partial``: some may be missing."""

    items: tuple[Item, ...]
    cursor: str | None = None
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Items in the order in which the index got them, and the opaque place after the last.

    ``partial``: more came at once than the index looks at; some are not among them.
    """

    items: tuple[Item, ...]
    position: str
    partial: bool = False


class IndexReader(Protocol):
    """The reading side; every method raises IndexUnavailableError."""

    def query(self, selection: Selection, cursor: str | None = None, limit: int = 50) -> Page:
        """Give the next ``limit`` items of a selection, after ``cursor``.

        Raises InvalidCursorError. Items that are put meanwhile neither repeat nor hide others.
        """

    @property
    def poll_seconds(self) -> float:
        """Seconds that whoever follows ``arrivals`` should leave between two looks."""

    def get(self, request_id: str) -> tuple[Item, ...] | None:
        """Give the calls of a request id (two where a caller used one twice), or of one object's stem, oldest first.

        None: this index knows no call by its id alone (DynamoDB). The object's name says where the record is, the
        record says what ``item_at`` needs: see ``query.lookup``.
        """

    def item_at(self, source: str | None, started_at: str, stem: str) -> Item | None:
        """Give the item of one object, by what makes its primary key."""

    def arrivals(self, position: str | None = None, limit: int = 500) -> Arrivals:
        """Give what was put since ``position``; without one, nothing, and the place where the index ends."""

    def tallies(self, selection: Selection, by: Grouping) -> Tallies:
        """Count the calls of a selection by group."""

    def activity(self, selection: Selection, slot_characters: int) -> Activity:
        """Count the calls of a selection over time; see ``activity`` for slots. Of SLOWEST nothing is heeded."""

    def items(self, since: str | None = None, until: str | None = None) -> Iterator[Item]:
        """Give every item whose call started from ``since`` on (inclusive) and before ``until``, in any order.

        It is whole, whatever it costs, for ``reconcile`` concludes from what does not come: what was there when it
        began comes at least once (twice does no harm), what is put meanwhile may come. Two items that differ
        in their keys alone both come. Memory does not grow with their number. Times are as records write them.
        """

    def close(self) -> None:
        """Let go of everything; may be called twice."""


class Index(IndexReader, Protocol):
    """The writing side as well."""

    def put(self, items: Sequence[Item]) -> None:
        """Write a batch, wholly or not at all; an item written again replaces itself."""
