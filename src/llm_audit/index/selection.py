"""What a reader asks of an index: a selection, its access paths, and cursors. Pure, standard library only.

A ``Selection`` says which calls are wanted, in what order. ``access_paths`` says by which partitions and
sort keys of ``schema`` an index can reach them, best first; each path leaves ``conditions`` over, to be
tested item by item. DynamoDB and SQLite share this; each chooses among the paths it has.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from enum import StrEnum

from llm_audit.index.schema import (
    Item,
    latency_sort,
    source_partition,
    status_partition,
    user_partition,
)


class Order(StrEnum):
    """In which order items come."""

    NEWEST = "newest"
    """By start of the request, latest first."""
    SLOWEST = "slowest"
    """By latency, longest first."""


class Comparison(StrEnum):
    """How an attribute is compared with a condition's value."""

    EQUALS = "equals"
    AT_LEAST = "at_least"
    BELOW = "below"
    CONTAINS = "contains"
    """The text holds the value, upper and lower case of ASCII letters alike."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds where any one of the attributes compares so with the value. A missing attribute never does."""

    attributes: tuple[str, ...]
    comparison: Comparison
    value: str | int


@dataclass(frozen=True, slots=True)
class Selection:
    """Which calls, in what order. None asks for no restriction.

    ``since`` (inclusive) and ``until`` (exclusive) are times as records write them; ``status`` is a status
    code or ``none``; ``-`` as source or user means refusals that stated no usable one.
    """

    source: str | None = None
    user: str | None = None
    status: str | None = None
    since: str | None = None
    until: str | None = None
    min_latency_ms: int | None = None
    order: Order = Order.NEWEST
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class AccessPath:
    """One way to reach a selection: a partition, a range of its sort key, and what is left to test.

    ``partition`` is (attribute, value), or None for the whole table in order of ``sort``. The range is
    ``low <= sort < high``; None is open.
    """

    partition: tuple[str, str] | None
    sort: str
    low: str | None
    high: str | None
    conditions: tuple[Condition, ...]


class InvalidCursorError(ValueError):
    """The cursor was not given by this program, or belongs to another order."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place after one item. It names the item's sort values, so items that come later shift nothing."""

    order: Order
    started_at: str
    stem: str
    latency_ms: int

    def position(self, sort: str) -> str:
        """Give the value of the sort key ``sort`` at this place."""
        when = f"{self.started_at}#{self.stem}"
        match sort:
            case "statusSk":
                return f"{self.started_at}#project#{self.stem}"
            case "latencySk":
                return f"{latency_sort(self.latency_ms)}#{when}"
            case _:
                return when


_CURSOR_VERSION = 1


def cursor_after(item: Item, order: Order) -> str:
    """Give the opaque text that names the place after ``item``."""
    return cursor_text(Cursor(order, item.started_at, item.stem, item.latency_ms))


def cursor_text(cursor: Cursor) -> str:
    """Give the opaque text of a cursor."""
    values = [_CURSOR_VERSION, cursor.order.value, cursor.started_at, cursor.stem, cursor.latency_ms]
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def parse_cursor(text: str, order: Order) -> Cursor:
    """Read a cursor back; raises InvalidCursorError for anything but a cursor of the same order."""
    try:
        values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        version, named, started_at, stem, latency_ms = values
    except (binascii.Error, ValueError, TypeError):
        version = named = started_at = stem = latency_ms = None
    if version != _CURSOR_VERSION or not (
        isinstance(started_at, str) and isinstance(stem, str) and isinstance(latency_ms, int)
    ):
        raise InvalidCursorError(f"{text[:80]!r} is no cursor; use the one a page ended with, or none")
    if named != order:
        raise InvalidCursorError(f"the cursor is of a list sorted {named}, this list is sorted {order}")
    return Cursor(order, started_at, stem, latency_ms)


def access_paths(selection: Selection, cursor: Cursor | None = None) -> tuple[AccessPath, ...]:
    """Give every path to a selection in its order, the usually most selective first; never empty.

    A path without partition comes last: it is the only one where neither source, user nor status is asked
    for, and for SLOWEST where no source is.
    """
    if selection.order is Order.SLOWEST:
        named = [("latencyPk", "latencySk")] if selection.source is not None else []
    else:
        named = [
            pair
            for pair, asked in (
                (("userIdPk", "userIdSk"), selection.user),
                (("id", "createdAt"), selection.source),
                (("statusPk", "statusSk"), selection.status),
            )
            if asked is not None
        ]
    whole = "latencySk" if selection.order is Order.SLOWEST else "createdAt"
    paths = [_path(selection, partition, sort, cursor) for partition, sort in named]
    return (*paths, _path(selection, None, whole, cursor))


def _path(selection: Selection, partition: str | None, sort: str, cursor: Cursor | None) -> AccessPath:
    by_latency = sort == "latencySk"
    if by_latency:
        low = None if selection.min_latency_ms is None else latency_sort(selection.min_latency_ms)
        high = None
    else:
        low, high = selection.since, selection.until
    if cursor is not None:
        position = cursor.position(sort)
        high = position if high is None else min(high, position)
    value = None if partition is None else partition_values(selection)[partition]
    return AccessPath(
        partition=None if partition is None or value is None else (partition, value),
        sort=sort,
        low=low,
        high=high,
        conditions=left_over(selection, partition, by_latency=by_latency),
    )


def partition_values(selection: Selection) -> dict[str, str | None]:
    """Give what the selection asks of each partition attribute; None where it asks nothing."""
    source = None if selection.source is None else source_partition(selection.source)
    return {
        "userIdPk": None if selection.user is None else user_partition(selection.user),
        "id": source,
        "latencyPk": source,
        "statusPk": None if selection.status is None else status_partition(selection.status),
    }


def left_over(selection: Selection, partition: str | None, *, by_latency: bool) -> tuple[Condition, ...]:
    """Give what a path over ``partition`` has not answered by its keys."""
    done = {"id", "latencyPk"} if partition in ("id", "latencyPk") else {partition, "latencyPk"}
    conditions = [
        Condition((name,), Comparison.EQUALS, value)
        for name, value in partition_values(selection).items()
        if value is not None and name not in done
    ]
    if by_latency:
        bounds = ((Comparison.AT_LEAST, selection.since), (Comparison.BELOW, selection.until))
        conditions += [Condition(("createdAt",), how, at) for how, at in bounds if at is not None]
    elif selection.min_latency_ms is not None:
        conditions.append(Condition(("latencyMs",), Comparison.AT_LEAST, selection.min_latency_ms))
    return (*conditions, *selection.conditions)
