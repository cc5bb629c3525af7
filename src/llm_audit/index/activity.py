"""Calls over time: what charts are drawn from. Pure, standard library only.

Calls are counted in slots, which are beginnings of their start's ISO 8601 text: 16 characters of it name a minute, 15
ten minutes, 13 an hour, 10 a day. Measures are counted by value: exactly below a second, above it to three digits
(see ``rounded``), so that a percentile read from them is at most one percent low.

``activity_of_items`` does it over items, which is what an index that cannot count (DynamoDB) uses on its newest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from llm_audit.index.schema import Item
from llm_audit.index.tallies import is_error


@dataclass(slots=True)
class Slot:
    """The calls that began in one slot."""

    calls: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    latency_ms: Counter[int] = field(default_factory=Counter)
    first_chunk_ms: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class Share:
    """The calls of one source and model, or of one user."""

    calls: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Activity:
    """Everything that was counted, over one snapshot. ``partial``: not every call of the selection was."""

    slots: Mapping[str, Slot]
    models: Mapping[tuple[str | None, str | None], Share]
    """By source and model."""
    users: Mapping[str | None, Share]
    partial: bool = False


def rounded(milliseconds: int) -> int:
    """Give a measure as it is counted: exact below a second, then down to three digits."""
    step = 1
    while milliseconds >= 1000 * step:
        step *= 10
    return milliseconds // step * step


def activity_of_items(items: Iterable[Item], slot_characters: int, *, partial: bool = False) -> Activity:
    """Count items."""
    slots: dict[str, Slot] = {}
    models: dict[tuple[str | None, str | None], Share] = {}
    users: dict[str | None, Share] = {}
    for item in items:
        slot = slots.setdefault(item.started_at[:slot_characters], Slot())
        slot.latency_ms[rounded(item.latency_ms)] += 1
        if item.time_to_first_chunk_ms is not None:
            slot.first_chunk_ms[rounded(item.time_to_first_chunk_ms)] += 1
        for counted in (
            slot,
            models.setdefault((item.source, item.model), Share()),
            users.setdefault(item.user, Share()),
        ):
            counted.calls += 1
            counted.errors += is_error(item)
            counted.input_tokens += item.input_tokens or 0
            counted.output_tokens += item.output_tokens or 0
    return Activity(slots, models, users, partial)
