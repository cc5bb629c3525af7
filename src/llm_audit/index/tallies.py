"""Counts of calls, exact: what statistics are computed from. Pure, standard library only.

A tally keeps how many calls took how many milliseconds, so that any percentile can be read from it without
estimating. An index fills tallies in its own way; ``tally_items`` does it over items, which is what an
index that cannot count (DynamoDB) uses on its newest items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from llm_audit.index.schema import Item


class Grouping(StrEnum):
    """By what calls are counted."""

    ALL = "all"
    SOURCE = "source"
    USER = "user"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Tally:
    """The calls of one group.

    ``errors`` are those that did not end ``complete`` with a status under 400. The two counters map
    milliseconds to how many calls took them; calls without a first chunk are missing in the second.
    """

    group: str | None
    calls: int
    errors: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    latency_ms: Counter[int] = field(default_factory=Counter)
    first_chunk_ms: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Tallies:
    """Every group's tally, most calls first. ``partial``: not every call of the selection was counted."""

    groups: tuple[Tally, ...]
    partial: bool = False


def is_error(item: Item) -> bool:
    """Tell whether a call counts as an error: not ``complete``, or with a status from 400 on, or none."""
    return item.outcome != "complete" or item.status_code is None or item.status_code >= 400


def group_of(item: Item, by: Grouping) -> str | None:
    """Give the group that an item belongs to."""
    match by:
        case Grouping.SOURCE:
            return item.source
        case Grouping.USER:
            return item.user
        case Grouping.MODEL:
            return item.model
        case Grouping.ALL:
            return None


def tally_items(items: Iterable[Item], by: Grouping) -> tuple[Tally, ...]:
    """Count items, most calls first, groups of the same size by name."""
    members: dict[str | None, list[Item]] = {}
    for item in items:
        members.setdefault(group_of(item, by), []).append(item)
    return in_order(_tally(group, calls) for group, calls in members.items())


def in_order(tallies: Iterable[Tally]) -> tuple[Tally, ...]:
    """Sort tallies: most calls first, then by name, the nameless group after the named."""
    return tuple(sorted(tallies, key=lambda one: (-one.calls, one.group is None, one.group or "")))


def _tally(group: str | None, calls: list[Item]) -> Tally:
    return Tally(
        group=group,
        calls=len(calls),
        errors=sum(map(is_error, calls)),
        input_tokens=sum(item.input_tokens or 0 for item in calls),
        output_tokens=sum(item.output_tokens or 0 for item in calls),
        total_tokens=sum(item.total_tokens or 0 for item in calls),
        latency_ms=Counter(item.latency_ms for item in calls),
        first_chunk_ms=Counter(
            item.time_to_first_chunk_ms for item in calls if item.time_to_first_chunk_ms is not None
        ),
    )
