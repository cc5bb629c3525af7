"""What happened over a range of time: a series for charts, totals, and who and what stands out.

The range decides how fine the series is. Slots without a call are there as zeros, so that a chart shows silence as such.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from llm_audit.index.activity import Activity, Share, Slot
from llm_audit.index.index import IndexReader
from llm_audit.index.schema import Item
from llm_audit.index.selection import Order, Selection
from llm_audit.query.statistics import percentile
from llm_audit.record.times import iso_from_ms

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

_SLOTS = (
    (3 * HOUR_MS, 16, MINUTE_MS),
    (30 * HOUR_MS, 15, 10 * MINUTE_MS),
    (31 * DAY_MS, 13, HOUR_MS),
)
"""Longest range, characters of a slot's name, its length; any longer range is counted by day."""

MOST_SLOTS = 4000
"""Points of a series; a range from the beginning of time is drawn from its first call on."""

SHOWN = 10
"""Rows of each table."""


@dataclass(frozen=True, slots=True)
class Range:
    """A range of time, in milliseconds since the epoch: from ``since`` on, before ``until``."""

    since_ms: int
    until_ms: int

    @property
    def slot(self) -> tuple[int, int]:
        """Characters of a slot's name, and its length in milliseconds."""
        length = self.until_ms - self.since_ms
        return next(((name, slot) for longest, name, slot in _SLOTS if length <= longest), (10, DAY_MS))


@dataclass(frozen=True, slots=True)
class Point:
    """One slot. Milliseconds are None where no call has them."""

    at_ms: int
    calls: int
    errors: int
    p50: int | None
    p95: int | None
    p99: int | None
    first_chunk_p50: int | None
    first_chunk_p95: int | None


@dataclass(frozen=True, slots=True)
class Totals:
    """The whole range."""

    calls: int
    errors: int
    input_tokens: int
    output_tokens: int
    p50: int | None
    p95: int | None
    p99: int | None
    first_chunk_p50: int | None
    first_chunk_p95: int | None


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that the page shows. ``partial``: the index counted only the newest calls."""

    range: Range
    slot_ms: int
    points: tuple[Point, ...]
    totals: Totals
    models: tuple[tuple[str | None, str | None, Share], ...]
    """Source, model and their share, most tokens first."""
    users: tuple[tuple[str | None, Share], ...]
    """Most calls first."""
    user_count: int
    slowest: tuple[Item, ...]
    partial: bool


def overview(index: IndexReader, span: Range, source: str | None) -> Overview:
    """Count a range's calls. Raises IndexUnavailableError. Over a million calls it takes some seconds: see ``bench/``."""
    since, until = iso_from_ms(max(0, span.since_ms)), iso_from_ms(span.until_ms)
    selection = Selection(source=source, since=since, until=until)
    characters, slot_ms = span.slot
    activity = index.activity(selection, characters)
    slowest = index.query(
        Selection(source=source, since=since, until=until, order=Order.SLOWEST), limit=SHOWN
    )
    return Overview(
        range=span,
        slot_ms=slot_ms,
        points=_points(activity, span, characters, slot_ms),
        totals=_totals(activity.slots.values()),
        models=_models(activity),
        users=tuple(
            sorted(activity.users.items(), key=lambda one: (-one[1].calls, one[0] is None, one[0] or ""))[
                :SHOWN
            ]
        ),
        user_count=sum(user is not None for user in activity.users),
        slowest=slowest.items,
        partial=activity.partial or slowest.partial,
    )


def _points(activity: Activity, span: Range, characters: int, slot_ms: int) -> tuple[Point, ...]:
    begin = span.since_ms - span.since_ms % slot_ms
    if (span.until_ms - begin) // slot_ms > MOST_SLOTS:
        begin = span.until_ms - span.until_ms % slot_ms - MOST_SLOTS * slot_ms
    return tuple(
        _point(at_ms, activity.slots.get(iso_from_ms(at_ms)[:characters]))
        for at_ms in range(begin, span.until_ms, slot_ms)
    )


def _point(at_ms: int, slot: Slot | None) -> Point:
    if slot is None:
        return Point(at_ms, 0, 0, None, None, None, None, None)
    latency, first = slot.latency_ms, slot.first_chunk_ms
    return Point(
        at_ms, slot.calls, slot.errors, *_percentiles(latency, (50, 95, 99)), *_percentiles(first, (50, 95))
    )


def _totals(slots: Iterable[Slot]) -> Totals:
    whole = Slot()
    for slot in slots:
        whole.calls += slot.calls
        whole.errors += slot.errors
        whole.input_tokens += slot.input_tokens
        whole.output_tokens += slot.output_tokens
        whole.latency_ms.update(slot.latency_ms)
        whole.first_chunk_ms.update(slot.first_chunk_ms)
    return Totals(
        whole.calls,
        whole.errors,
        whole.input_tokens,
        whole.output_tokens,
        *_percentiles(whole.latency_ms, (50, 95, 99)),
        *_percentiles(whole.first_chunk_ms, (50, 95)),
    )


def _percentiles(counts: Counter[int], percents: tuple[int, ...]) -> list[int | None]:
    return [percentile(counts, percent) for percent in percents]


def _models(activity: Activity) -> tuple[tuple[str | None, str | None, Share], ...]:
    shares: Mapping[tuple[str | None, str | None], Share] = activity.models
    rows = [(source, model, share) for (source, model), share in shares.items()]
    rows.sort(key=lambda row: (-row[2].input_tokens - row[2].output_tokens, row[0] or "", row[1] or ""))
    return tuple(rows[:SHOWN])
