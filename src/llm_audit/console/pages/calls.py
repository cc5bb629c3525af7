"""The list of calls: filters, pages, live tail, export."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from llm_audit.console import export
from llm_audit.console.address import CONTENT_FILTERS, Address, read_address
from llm_audit.console.console import Console, redirect
from llm_audit.console.roles import Right, Viewer
from llm_audit.index.index import IndexMissingError
from llm_audit.index.schema import Item
from llm_audit.index.selection import Order, parse_cursor
from llm_audit.query.filters import FILTER_NAMES, Filter, sentence_of
from llm_audit.query.pages import Listing, list_calls, pages
from llm_audit.query.searching import is_search, search_calls
from llm_audit.record.schema import Outcome

PAGE_SIZE = 50
LIVE_SECONDS = 2
SEARCH_SECONDS = 0.12
"""How long a page looks for calls that no index of SQLite knows; then it says how far it came."""


@dataclass(frozen=True, slots=True)
class CallsPage:
    """What the template shows."""

    address: Address
    listing: Listing
    outcomes: tuple[str, ...]
    shows_previews: bool
    live_seconds: int
    is_whole: bool

    @property
    def looked_back_to(self) -> str | None:
        """How far a search came within its time."""
        cursor = self.listing.cursor
        if not self.is_whole or not self.listing.partial or cursor is None:
            return None
        return parse_cursor(cursor, self.address.order).started_at

    @property
    def fields(self) -> dict[str, str]:
        """What stands in the form: every filter, empty where there is none."""
        return {name: self.address.filters.get(name, "") for name in FILTER_NAMES}

    @property
    def next_url(self) -> str | None:
        """The page after this one."""
        cursor = self.listing.cursor
        return None if cursor is None else self.address.after(cursor).url

    @property
    def first_url(self) -> str:
        """The first page of the list."""
        return self.address.after(None).url


def routes(console: Console) -> APIRouter:
    """Give the routes."""
    router = APIRouter()

    @router.get("/calls")
    def calls(request: Request) -> Response:
        console.require(request, Right.METADATA)
        if any(not value.strip() for _, value in request.query_params.multi_items()):
            # Fields left empty: on to the address that one would send to a colleague.
            return redirect(read_address("/calls", request.query_params.multi_items()).url)
        address, viewer = _asked(console, request, "/calls")
        shows_previews = address.previews and viewer.sees_content
        filters = address.made_filters(_now_ms())
        listing = _listing(console, filters, address)
        if shows_previews:
            _record_previews(console, viewer, listing)
        page = CallsPage(
            address, listing, tuple(Outcome), shows_previews, LIVE_SECONDS, console.setup.is_whole
        )
        return console.page("calls.html", viewer, page)

    @router.get("/calls/export.csv")
    def as_csv(request: Request) -> Response:
        return _exported(console, request, "csv")

    @router.get("/calls/export.jsonl")
    def as_json_lines(request: Request) -> Response:
        return _exported(console, request, "jsonl")

    return router


def _asked(console: Console, request: Request, path: str) -> tuple[Address, Viewer]:
    """Read the address, and let only those see what needs the right to content."""
    viewer = console.require(request, Right.METADATA)
    address = read_address(path, request.query_params.multi_items())
    if address.previews or CONTENT_FILTERS & address.filters.keys():
        viewer = console.require(request, Right.CONTENT)
    if "text" in address.filters and address.cursor is None and not address.live:
        console.record(viewer, "content.search", address.filters["text"])
    return address, viewer


def _listing(console: Console, filters: Sequence[Filter], address: Address) -> Listing:
    try:
        index = console.index()
    except IndexMissingError:
        return Listing("calls: none was made yet", (), None, partial=False)
    if console.setup.is_whole and address.order is Order.NEWEST and is_search(filters):
        return search_calls(index, filters, PAGE_SIZE, address.cursor, SEARCH_SECONDS)
    return list_calls(index, filters, address.order, PAGE_SIZE, address.cursor)


def _record_previews(console: Console, viewer: Viewer, listing: Listing) -> None:
    unseen = console.seen.unseen(viewer.name or "", (item.stem for item in listing.items))
    if unseen:
        console.record(viewer, "content.previews", listing.sentence, calls=unseen)
        console.seen.note(viewer.name or "", unseen)


def _exported(console: Console, request: Request, kind: str) -> Response:
    address, viewer = _asked(console, request, f"/calls/export.{kind}")
    filters = address.made_filters(_now_ms())
    index = console.index()
    if viewer.sees_content:
        sentence = sentence_of(filters, address.order)
        console.record(viewer, "content.export", sentence, format=kind)

    def items() -> Iterator[Item]:
        cursor = None
        while True:
            for page in pages(index, filters, address.order, None, cursor):
                yield from page.items
                cursor = page.cursor
            if cursor is None:
                return

    form = export.FORMS[kind]
    return StreamingResponse(
        form.lines(items(), with_previews=viewer.sees_content),
        media_type=form.media_type,
        headers={"content-disposition": f'attachment; filename="llm-audit-calls.{kind}"'},
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
