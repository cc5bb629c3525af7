"""Items as DynamoDB holds them: attribute values, sizes, and which partitions hold which status. Pure.

Standard library only: this and ``schema`` are what runs inside Lambda. An attribute that has nothing is
absent, never null or an empty key. An item that would pass DynamoDB's 400 KB loses the ends of its previews,
the longer one first: everything else together is a quarter of that at most.

**Markers.** A reader of all calls merges the status index over the statuses in ``LIKELY_STATUSES``, unsharded.
Whatever lies elsewhere is announced by markers, rows without index keys that are durable before the first item
of their kind: so no reader needs a setting to find everything, and the usual table holds no marker at all.

=====================  ============================  ========================================================
``id``                 ``createdAt``                 says
=====================  ============================  ========================================================
``index#partitions``   ``status#299``                there are calls with that status, or in its shards
``index#partitions``   ``shards#00008``              there are shards below that number (a power of two)
=====================  ============================  ========================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from llm_audit.index.schema import (
    KEY_NAMES,
    NO_STATUS,
    Item,
    attributes,
    item_from_attributes,
    status_partition,
)

AttributeValue = dict[str, Any]
"""One value in DynamoDB's own notation: ``{"S": "text"}``, ``{"N": "12"}``, ``{"BOOL": true}``, ``{"L": [...]}``."""

Row = dict[str, AttributeValue]
"""An item in DynamoDB's own notation."""

ITEM_LIMIT = 400 * 1024
"""Bytes that DynamoDB takes for one item, names included (Service quotas, "Item size")."""

_ROOM = 1024
"""Left free: DynamoDB does not say to the byte how it counts a number."""

MARKER_ID = "index#partitions"
"""``id`` of every marker; no source can have it, since theirs begin with ``project#``."""

LIKELY_STATUSES = (
    NO_STATUS,
    *(
        str(code)
        for codes in (
            (*range(200, 209), 226),  # RFC 9110 and the IANA registry of status codes
            range(300, 309),
            (*range(400, 432), 451, 499),  # 499: nginx, the client went away
            (*range(500, 512), *range(520, 531)),  # 52x: proxies of content networks; 529: overloaded
        )
        for code in codes
    ),
)
"""Statuses that every reader looks for. Removing one would hide calls; adding one is safe."""

_LIKELY = frozenset(LIKELY_STATUSES)


def row_of(item: Item) -> Row:
    """Give an item as DynamoDB takes it, its previews shortened where it would be too large."""
    row = {name: _value(value) for name, value in attributes(item).items() if value is not None}
    if not item.finish_reasons:
        del row["finishReasons"]
    over = size_of(row) - (ITEM_LIMIT - _ROOM)
    return _shortened(row, over) if over > 0 else row


def item_of(row: Mapping[str, AttributeValue]) -> Item | None:
    """Give back the item of a row; None for a row that is none of ours (a marker, a stranger's)."""
    if not all("S" in row.get(name, {}) for name in KEY_NAMES):
        return None
    return item_from_attributes({name: _plain(value) for name, value in row.items()})


def key_of(item: Item) -> Row:
    """Give the item's primary key."""
    row = attributes(item)
    return {name: {"S": row[name]} for name in ("id", "createdAt")}


def size_of(row: Row) -> int:
    """Give an item's size as DynamoDB counts it: UTF-8 bytes of names and values (never less)."""
    return sum(len(name.encode()) + _size(value) for name, value in row.items())


def markers_of(item: Item) -> tuple[str, ...]:
    """Give the markers (their ``createdAt``) that must be there before this item is; most items need none."""
    status = NO_STATUS if item.status_code is None else str(item.status_code)
    if item.status_shard is None:
        return () if status in _LIKELY else (status_partition(status),)
    return (status_partition(status), f"shards#{1 << item.status_shard.bit_length():05d}")


def marker_row(marker: str) -> Row:
    """Give a marker as DynamoDB takes it."""
    return {"id": {"S": MARKER_ID}, "createdAt": {"S": marker}}


def status_partitions(markers: Iterable[str], status: str | None = None) -> tuple[str, ...]:
    """Give every ``statusPk`` that may hold calls of a status, or of any, according to a table's markers."""
    announced, shards = dict[str, None](), 0
    for marker in markers:
        kind, _, rest = marker.partition("#")
        if kind == "shards":
            shards = max(shards, int(rest))
        else:
            announced[rest] = None
    if status is None:
        plain, spread = dict.fromkeys((*LIKELY_STATUSES, *announced)), announced
    else:
        plain = spread = {status: None}
    sharded = (status_partition(one, shard) for one in spread for shard in range(shards))
    return (*map(status_partition, plain), *sharded)


def _value(value: Any) -> AttributeValue:
    match value:
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case list() | tuple():
            return {"L": [_value(one) for one in value]}
        case _:
            return {"S": str(value)}


def _plain(value: AttributeValue) -> Any:
    ((kind, inner),) = value.items()
    match kind:
        case "N":
            return int(inner) if inner.lstrip("-").isdigit() else float(inner)
        case "L":
            return [_plain(one) for one in inner]
        case "NULL":
            return None
        case _:
            return inner


def _size(value: AttributeValue) -> int:
    ((kind, inner),) = value.items()
    match kind:
        case "S":
            return len(inner) if inner.isascii() else len(inner.encode())
        case "L":
            return 3 + sum(1 + _size(one) for one in inner)
        case "N":
            return len(inner) + 1
        case _:
            return 1


_PREVIEWS = ("promptPreview", "responsePreview")


def _shortened(row: Row, over: int) -> Row:
    """Take ``over`` bytes from the previews: from the longer down to the shorter, then from both alike."""
    texts = {name: row[name]["S"].encode() for name in _PREVIEWS if name in row}
    room = sum(map(len, texts.values())) - over
    shorter = min(texts, key=lambda name: len(texts[name]))
    allowed = dict.fromkeys(texts, room // 2)
    if len(texts[shorter]) <= room // 2:
        allowed = {name: room - len(texts[shorter]) for name in texts}
        allowed[shorter] = len(texts[shorter])
    # A character that is cut through is left out whole.
    cut = {name: {"S": text[: allowed[name]].decode("utf-8", "ignore")} for name, text in texts.items()}
    return {**row, **cut}
