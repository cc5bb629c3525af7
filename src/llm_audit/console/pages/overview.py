"""The overview: how many calls, how well, how fast, by whom, over a range of time that stands in the address."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llm_audit.console.console import Console, redirect
from llm_audit.console.counting import Counting, Result
from llm_audit.console.roles import Right
from llm_audit.index.index import IndexMissingError
from llm_audit.query.filters import FilterError, parse_time
from llm_audit.query.overview import Overview, Range, overview
from llm_audit.record.times import ms_from_iso

RANGES = (("15m", "15 min"), ("1h", "1 hour"), ("6h", "6 hours"), ("24h", "24 hours"), ("7d", "7 days"), ("30d", "30 days"))  # fmt: skip
USUAL = "24h"
REFRESH_SECONDS = 5
AGAIN_SECONDS = 1
"""While the first count is under way."""
_LEAST_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address says."""

    since: str
    until: str | None
    source: str | None

    def url(self, since: str | None = None, path: str = "/", **more: str) -> str:
        """Give an address with the same filters, and perhaps another range."""
        fields = {"source": self.source, "since": since or self.since, "until": None if since else self.until}
        pairs = {name: value for name, value in {**fields, **more}.items() if value}
        return f"{path}?{urlencode(pairs)}"

    def span(self, now_ms: int) -> Range:
        """Give the range itself. Raises FilterError."""
        since = ms_from_iso(parse_time(self.since, now_ms))
        until = now_ms if self.until is None else ms_from_iso(parse_time(self.until, now_ms))
        if since >= until:
            raise FilterError(f"since is {self.since!r}, expected a time before {self.until or 'now'!r}")
        return Range(since, until)


@dataclass(frozen=True, slots=True)
class OverviewPage:
    """What the template shows; ``result`` is None while the first count is under way."""

    asked: Asked
    result: Result[Overview] | None
    is_empty: bool
    refresh_seconds: int
    ranges: tuple[tuple[str, str], ...] = RANGES

    def series(self, *names: str) -> str:
        """Give columns of the series as JSON: the times in seconds, then each measure."""
        assert self.result is not None
        points = self.result.value.points
        columns = [[point.at_ms / 1000 for point in points]]
        columns += [[getattr(point, name) for point in points] for name in names]
        return json.dumps(columns)


def routes(console: Console) -> APIRouter:
    """Give the routes."""
    router = APIRouter()
    counting: Counting[Overview] = Counting(_LEAST_SECONDS)

    @router.get("/")
    def page(request: Request) -> Response:
        viewer = console.require(request, Right.METADATA)
        given = {name: value.strip() for name, value in request.query_params.items() if value.strip()}
        unknown = given.keys() - {"since", "until", "source"}
        if unknown:
            raise FilterError(f"there is no filter {min(unknown)!r} here, only since, until and source")
        asked = Asked(given.get("since", USUAL), given.get("until"), given.get("source"))
        if len(given) < len(request.query_params):
            return redirect(asked.url())
        now_ms = time.time_ns() // 1_000_000
        asked.span(now_ms)  # a wrong time is told before anything is counted

        def count() -> Overview:
            return overview(console.index_for_counts(), asked.span(time.time_ns() // 1_000_000), asked.source)

        try:
            result, is_empty = counting.get(asked, count), False
        except IndexMissingError:
            result, is_empty = None, True
        seconds = REFRESH_SECONDS if result or is_empty else AGAIN_SECONDS
        return console.page("overview.html", viewer, OverviewPage(asked, result, is_empty, seconds))

    return router
