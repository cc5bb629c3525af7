"""One call by its id: from the index where that knows ids, else from the objects' own names.

An object's key holds its day and its request id, so a call is found without any index: a UUIDv7 says on which day it
was made (RFC 9562, section 5.7), any other id is asked for day by day, in parallel. DynamoDB, whose indexes know no
ids, is then asked for the item of what was found.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from uuid import UUID

from llm_audit.index.index import IndexReader
from llm_audit.index.schema import Item, NewerDocumentError, NotAnAuditDocumentError, item_from_document
from llm_audit.record.encoding import sha256_hex
from llm_audit.store.keys import day_prefix, parse_key
from llm_audit.store.objects import ObjectMissingError, ObjectStore

DAY_MS = 86_400_000

LOOKERS = 16
"""Days asked for at once."""


@dataclass(frozen=True, slots=True)
class FoundCall:
    """One object of a call: its key, its bytes, and the digest that the index has of it, if it has one."""

    key: str
    data: bytes
    indexed_sha256: str | None

    @property
    def is_as_indexed(self) -> bool:
        """False where the object is no longer what was indexed."""
        return self.indexed_sha256 in (None, sha256_hex(self.data))


def find_calls(
    index: IndexReader | None, store: ObjectStore, prefix: str, request_id: str, since_ms: int, now_ms: int
) -> list[FoundCall]:
    """Find the calls of a request id (two where a caller used one twice) or of an object's stem, oldest first.

    ``index`` is None where there is none. Days are asked for back to ``since_ms``. Raises IndexUnavailableError, StoreError.
    """
    items = None if index is None else index.get(request_id)
    if items:
        return [
            FoundCall(item.audit_object_key, store.get(item.audit_object_key), item.audit_object_sha256)
            for item in items
        ]
    for days in _days(request_id, since_ms, now_ms):
        found = _on_days(store, prefix, request_id, days)
        if found:
            asked = index if items is None else None
            return [FoundCall(key, data, _indexed(asked, store.bucket, key, data)) for key, data in found]
    return []


def find_items(
    index: IndexReader,
    open_store: Callable[[], ObjectStore],
    prefix: str,
    request_id: str,
    since_ms: int,
    now_ms: int,
) -> list[Item]:
    """Find the same calls' items; the store is opened and its objects are read only where the index knows no such id.

    A call that no index has is given as its object says; its ``audit_object_sha256`` is empty, for nothing vouches for it.
    """
    items = index.get(request_id)
    if items:
        return list(items)
    store = open_store()
    found = []
    for call in find_calls(index, store, prefix, request_id, since_ms, now_ms):
        item = _item(store.bucket, call.key, call.data)
        if item is not None:
            found.append(replace(item, audit_object_sha256=call.indexed_sha256 or ""))
    return found


def _days(request_id: str, since_ms: int, now_ms: int) -> Iterator[Sequence[int]]:
    """Give the days to look at, in order of promise: what the id says with its neighbours, then all."""
    try:
        uuid = UUID(request_id.partition("~")[0])
    except ValueError:
        return
    if uuid.version == 7:
        made_ms = uuid.int >> 80
        yield [max(0, made_ms + day * DAY_MS) for day in (-1, 0, 1)]
    # A day ahead: the proxy's clock may be.
    yield range(max(0, since_ms), now_ms + 2 * DAY_MS, DAY_MS)


def _on_days(
    store: ObjectStore, prefix: str, request_id: str, days: Iterable[int]
) -> list[tuple[str, bytes]]:
    def look(folder: str) -> list[tuple[str, bytes]]:
        key = f"{folder}{request_id}.json"
        try:
            found = [(key, store.get(key))]
        except ObjectMissingError:
            return []
        if "~" not in request_id:
            found += [(twin, store.get(twin)) for twin in _twins(store, folder, request_id)]
        return found

    folders = dict.fromkeys(folder for day in days if (folder := _folder(prefix, day, request_id)))
    with ThreadPoolExecutor(LOOKERS, thread_name_prefix="lookup") as pool:
        return [one for found in pool.map(look, folders) for one in found]


def _folder(prefix: str, day_ms: int, request_id: str) -> str | None:
    """Give what the keys of a day begin with; None for a day, or an id, that no object can have."""
    try:
        folder = day_prefix(prefix, day_ms)
    except (ValueError, OverflowError):
        return None
    return folder if parse_key(f"{folder}{request_id}.json") else None


def _twins(store: ObjectStore, folder: str, request_id: str) -> Iterator[str]:
    """Give the names of further calls that used the same id on the same day."""
    begin = f"{folder}{request_id}~"
    for entry in store.list(folder, after=begin):
        if not entry.key.startswith(begin):
            return
        yield entry.key


def _indexed(index: IndexReader | None, bucket: str, key: str, data: bytes) -> str | None:
    item = None if index is None else _item(bucket, key, data)
    if index is None or item is None:
        return None
    indexed = index.item_at(item.source, item.started_at, item.stem)
    return None if indexed is None else indexed.audit_object_sha256


def _item(bucket: str, key: str, data: bytes) -> Item | None:
    try:
        document = json.loads(data)
        return item_from_document(document, bucket, key, "") if isinstance(document, dict) else None
    except (ValueError, RecursionError, NotAnAuditDocumentError, NewerDocumentError):
        return None
