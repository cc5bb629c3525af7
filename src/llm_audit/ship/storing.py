"""One record into the store, under the one name that is right, never twice and never over another.

The rule (contracts.md, "Object"): put under the plain name; if that is taken, the stored object's writer
decides. The same id, boot and sequence: this very exchange, stored by an earlier try or an earlier life; its
digest is adopted, since an earlier version may have put it into other words. Anything else: another exchange
used the same request id, and this one goes under its conflict name, where nobody else ever writes, so that a
conflict there means stored. A conflict on a name where nothing can be read (a 409 of two concurrent requests,
or an eventually consistent listing) is asked again under the same name.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

import orjson

from llm_audit.record.encoding import HEAD_LIMIT
from llm_audit.ship.build import BuiltRecord
from llm_audit.ship.ledger import StoredRecord
from llm_audit.store.objects import ObjectMissingError, ObjectStore, Put, StoreUnavailableError

_WRITER = re.compile(rb',"writer":(\{[^{}]*\})')
"""The writer in an object's head. Inside a JSON string every quote is escaped, so no text can look like it."""


class Storing(NamedTuple):
    """What became of one record; ``adopted`` where it was there already."""

    stored: StoredRecord
    adopted: bool


def store_record(store: ObjectStore, built: BuiltRecord) -> Storing:
    """Store a record, once. Raises what ``ObjectStore.put_new`` and its readers raise; then ask again."""
    if store.put_new(built.key, built.data) is Put.CREATED:
        return created(built)
    if _is_same_exchange(store, built, built.key):
        return _adopted(store, built, built.key)
    if store.put_new(built.conflict_key, built.data) is Put.CREATED:
        return Storing(_row(built, built.sha256, built.conflict_key, len(built.data)), adopted=False)
    return _adopted(store, built, built.conflict_key)


def created(built: BuiltRecord) -> Storing:
    """Say that the record was stored just now, under its plain name."""
    return Storing(_row(built, built.sha256, built.key, len(built.data)), adopted=False)


def _adopted(store: ObjectStore, built: BuiltRecord, key: str) -> Storing:
    digest = hashlib.sha256()
    size = 0
    try:
        for piece in store.stream(key):
            digest.update(piece)
            size += len(piece)
    except ObjectMissingError as error:
        raise _not_there_yet(key) from error
    return Storing(_row(built, digest.hexdigest(), key, size), adopted=True)


def _is_same_exchange(store: ObjectStore, built: BuiltRecord, key: str) -> bool:
    try:
        head = store.get_head(key, HEAD_LIMIT)
    except ObjectMissingError as error:
        raise _not_there_yet(key) from error
    return writer_in(head) == (built.writer.id, built.writer.boot, built.writer.sequence)


def writer_in(head: bytes) -> tuple[str, int, int] | None:
    """Read writer id, boot and sequence from the beginning of an object; None where it is no record."""
    match = _WRITER.search(head)
    if match is None or not head.startswith(b'{"schemaVersion":'):
        return None
    try:
        writer = orjson.loads(match[1])
        return writer["id"], writer["boot"], writer["sequence"]
    except (orjson.JSONDecodeError, KeyError):
        return None


def _row(built: BuiltRecord, sha256: str, key: str, size: int) -> StoredRecord:
    writer = built.writer
    return StoredRecord(writer.id, writer.boot, writer.sequence, sha256, key, size)


def _not_there_yet(key: str) -> StoreUnavailableError:
    return StoreUnavailableError(f"{key} is taken, but nothing is there yet: asking again")
