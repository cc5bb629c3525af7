"""Filters are data: each says what it restricts, and the same in words. Pure.

A list of filters becomes one ``Selection`` for an index (its clause and parameters are the index's affair)
and one sentence for people: "calls of source billing, with status 500, since 2026-11-24T00:00:00.000Z".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from llm_audit.index.schema import NO_STATUS, NOBODY
from llm_audit.index.selection import Comparison, Condition, Order, Selection
from llm_audit.record.schema import Outcome
from llm_audit.record.times import iso_from_ms, ms_from_iso


class FilterError(ValueError):
    """A filter's value cannot be used; says what came and what is expected."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One restriction: its name, its value as it was given, and what it does to a selection."""

    name: str
    value: str
    sentence: str
    """The words for people, after "calls"."""
    restriction: Selection = field(default_factory=Selection)
    """A selection in which only this filter's fields are set."""

    def applied_to(self, selection: Selection) -> Selection:
        """Give the selection restricted further; of two filters of one name the later counts."""
        mine = self.restriction
        return replace(
            selection,
            source=_either(mine.source, selection.source),
            user=_either(mine.user, selection.user),
            status=_either(mine.status, selection.status),
            since=_either(mine.since, selection.since),
            until=_either(mine.until, selection.until),
            min_latency_ms=mine.min_latency_ms
            if mine.min_latency_ms is not None
            else selection.min_latency_ms,
            conditions=(*selection.conditions, *mine.conditions),
        )


def _either(first: str | None, second: str | None) -> str | None:
    return second if first is None else first


def selection_of(filters: Iterable[Filter], order: Order = Order.NEWEST) -> Selection:
    """Give what all filters together ask of an index."""
    selection = Selection(order=order)
    for one in filters:
        selection = one.applied_to(selection)
    return selection


def sentence_of(filters: Iterable[Filter], order: Order = Order.NEWEST) -> str:
    """Say in words what a list holds."""
    sentence = " ".join(["calls", ", ".join(one.sentence for one in filters)]).strip()
    return f"{sentence or 'calls'}, {'slowest' if order is Order.SLOWEST else 'newest'} first"


FILTER_NAMES = (
    "source",
    "user",
    "status",
    "request-type",
    "outcome",
    "model",
    "min-latency-ms",
    "text",
    "since",
    "until",
)
"""Every filter by name, as flags and query strings spell it."""


def make_filter(name: str, value: str, now_ms: int) -> Filter:
    """Read a filter from text. ``now_ms`` (since the epoch, UTC) is what relative times count back from.

    Raises FilterError for a name that does not exist and for a value that it does not allow.
    """
    maker = _MAKERS.get(name)
    if maker is None:
        raise FilterError(f"there is no filter {name!r}, only {', '.join(FILTER_NAMES)}")
    if not value:
        raise FilterError(f"{name} is empty; leave the filter out instead")
    return maker(value, now_ms)


def _source(value: str, _now_ms: int) -> Filter:
    words = "without a usable source" if value == NOBODY else f"of source {value}"
    return Filter("source", value, words, Selection(source=value))


def _user(value: str, _now_ms: int) -> Filter:
    words = "without a usable user" if value == NOBODY else f"of user {value}"
    return Filter("user", value, words, Selection(user=value))


def _status(value: str, _now_ms: int) -> Filter:
    if value != NO_STATUS and not re.fullmatch(r"[1-9]\d\d", value, re.ASCII):
        raise FilterError(f"status is {value!r}, expected a status code such as 200, or {NO_STATUS}")
    words = "without a status" if value == NO_STATUS else f"with status {value}"
    return Filter("status", value, words, Selection(status=value))


def _equal(name: str, attribute: str, words: str) -> Callable[[str, int], Filter]:
    def make(value: str, _now_ms: int) -> Filter:
        condition = Condition((attribute,), Comparison.EQUALS, value)
        return Filter(name, value, f"{words} {value}", Selection(conditions=(condition,)))

    return make


def _outcome(value: str, now_ms: int) -> Filter:
    if value not in tuple(Outcome):
        raise FilterError(f"outcome is {value!r}, expected one of {', '.join(Outcome)}")
    return _equal("outcome", "outcome", "with outcome")(value, now_ms)


def _min_latency(value: str, _now_ms: int) -> Filter:
    if not re.fullmatch(r"\d{1,10}", value, re.ASCII):
        raise FilterError(f"min-latency-ms is {value!r}, expected whole milliseconds such as 1500")
    return Filter(
        "min-latency-ms", value, f"that took {value} ms or longer", Selection(min_latency_ms=int(value))
    )


def _text(value: str, _now_ms: int) -> Filter:
    condition = Condition(("promptPreview", "responsePreview"), Comparison.CONTAINS, value)
    return Filter("text", value, f"with {value!r} in a preview", Selection(conditions=(condition,)))


def _since(value: str, now_ms: int) -> Filter:
    at = parse_time(value, now_ms)
    return Filter("since", value, f"since {at}", Selection(since=at))


def _until(value: str, now_ms: int) -> Filter:
    at = parse_time(value, now_ms)
    return Filter("until", value, f"before {at}", Selection(until=at))


_MAKERS: dict[str, Callable[[str, int], Filter]] = {
    "source": _source,
    "user": _user,
    "status": _status,
    "request-type": _equal("request-type", "requestType", "with request type"),
    "outcome": _outcome,
    "model": _equal("model", "model", "with model"),
    "min-latency-ms": _min_latency,
    "text": _text,
    "since": _since,
    "until": _until,
}

_RELATIVE = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)
_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def parse_time(text: str, now_ms: int) -> str:
    """Give a time as records write it, from ISO 8601 (UTC unless it says otherwise) or "ago": 90s, 2h, 7d.

    Raises FilterError.
    """
    relative = _RELATIVE.fullmatch(text)
    try:
        if relative:
            return iso_from_ms(max(0, now_ms - int(relative[1]) * _UNIT_MS[relative[2]]))
        moment = ms_from_iso(text)
    except (ValueError, OverflowError):
        moment = -1
    if moment < 0:
        raise FilterError(
            f"{text!r} is no time; expected one such as 2026-11-24, 2026-11-24T02:10:11Z, 30m, 2h or 7d"
        )
    return iso_from_ms(moment)
