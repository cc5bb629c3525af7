"""Lists of calls, page by page. I/O only through the index that is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llm_audit.index.index import IndexReader, Page
from llm_audit.index.schema import Item
from llm_audit.index.selection import Order
from llm_audit.query.filters import Filter, selection_of, sentence_of

LARGEST_PAGE = 500
"""Items asked of an index at once; longer lists are put together from several pages."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A list of calls: what it holds in words, its items, and where it goes on (None: it is complete)."""

    sentence: str
    items: tuple[Item, ...]
    cursor: str | None
    partial: bool
    """The index could not look at everything; the list may miss calls."""


def list_calls(
    index: IndexReader,
    filters: Sequence[Filter],
    order: Order = Order.NEWEST,
    limit: int = 50,
    cursor: str | None = None,
) -> Listing:
    """Give up to ``limit`` calls. Raises InvalidCursorError, IndexUnavailableError."""
    items: list[Item] = []
    partial = False
    for page in pages(index, filters, order, limit, cursor):
        items += page.items
        partial = partial or page.partial
        cursor = page.cursor
    return Listing(sentence_of(filters, order), tuple(items), cursor, partial)


def pages(
    index: IndexReader,
    filters: Sequence[Filter],
    order: Order = Order.NEWEST,
    limit: int | None = None,
    cursor: str | None = None,
) -> Iterator[Page]:
    """Give page after page until the list ends, holds ``limit`` calls, or an index's read budget is used up."""
    selection = selection_of(filters, order)
    left = limit
    while left is None or left > 0:
        page = index.query(selection, cursor, LARGEST_PAGE if left is None else min(left, LARGEST_PAGE))
        yield page
        cursor = page.cursor
        if cursor is None or page.partial:
            return
        left = None if left is None else left - len(page.items)
