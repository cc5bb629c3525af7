"""Lists that an index must look for row by row, within a limit of time: window after window, backwards.

Words in previews, or several filters at once that each fit many calls, may have to look at every row there is. A page must
not: it looks at stretches of time, newest first, as long as time is left, and then says how far it came. Its cursor goes on
from there. Stretches grow where they were quick and shrink where they were not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from llm_audit.index.index import IndexReader
from llm_audit.index.schema import Item
from llm_audit.index.selection import Cursor, Order, Selection, cursor_text, parse_cursor
from llm_audit.query.filters import Filter, selection_of, sentence_of
from llm_audit.query.pages import Listing
from llm_audit.record.times import iso_from_ms, ms_from_iso

FIRST_WINDOW_MS = 600_000
QUICK_SECONDS = 0.01
SLOW_SECONDS = 0.05
_GROWTH = 4


def is_search(filters: Sequence[Filter]) -> bool:
    """Tell whether a list may have to be looked for: no single index may answer it."""
    names = {one.name for one in filters} - {"since", "until"}
    return "text" in names or len(names) > 1


def search_calls(
    index: IndexReader,
    filters: Sequence[Filter],
    limit: int,
    cursor: str | None,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Listing:
    """Give up to ``limit`` calls, newest first, ``partial`` where the time was over before the list was full.

    Raises InvalidCursorError, IndexUnavailableError.
    """
    selection = selection_of(filters)
    sentence = sentence_of(filters)
    floor = 0 if selection.since is None else ms_from_iso(selection.since)
    end = _begin(index, selection, cursor)
    deadline, window = clock() + seconds, FIRST_WINDOW_MS
    items: list[Item] = []
    while end is not None and end > floor:
        start = max(floor, end - window)
        began = clock()
        page = index.query(_between(selection, start, end), cursor, limit - len(items))
        items += page.items
        if page.cursor is not None:  # the list is full, or the index itself gave up
            return Listing(sentence, tuple(items), page.cursor, page.partial)
        now = clock()
        took, end = now - began, _end_before(index, iso_from_ms(start))
        if end is None or end <= floor:
            break
        is_full = len(items) == limit
        if is_full or now >= deadline:
            return Listing(sentence, tuple(items), _place(end), partial=not is_full)
        if took < QUICK_SECONDS:
            window *= _GROWTH
        elif took > SLOW_SECONDS:
            window = max(1, window // _GROWTH)
    return Listing(sentence, tuple(items), None, partial=False)


def _begin(index: IndexReader, selection: Selection, cursor: str | None) -> int | None:
    if cursor is None:
        return _end_before(index, selection.until)
    return ms_from_iso(parse_cursor(cursor, Order.NEWEST).started_at) + 1


def _end_before(index: IndexReader, until: str | None) -> int | None:
    """Give where a window is to end: just after the newest call before a time, so that silence costs nothing.

    None where there is none: the list has ended.
    """
    newest = index.query(Selection(until=until), limit=1).items
    return ms_from_iso(newest[0].started_at) + 1 if newest else None


def _between(selection: Selection, start: int, end: int) -> Selection:
    return replace(selection, since=iso_from_ms(start), until=iso_from_ms(end))


def _place(end: int) -> str:
    """Give the cursor of a moment: what began before it is still to come."""
    return cursor_text(Cursor(Order.NEWEST, iso_from_ms(end), "", 0))
