"""Ledger, store and index as rows of ``completeness``, as far as they speak of a prefix and a range of days."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

from llm_audit.cli.comparing.days import Days, day_folder
from llm_audit.index.index import IndexReader
from llm_audit.index.schema import Item, attributes
from llm_audit.integrity.completeness import Figures, Indexed, Ledgered, Stored
from llm_audit.ship.ledger_reader import LedgerReader
from llm_audit.store.keys import parse_key
from llm_audit.store.objects import ObjectEntry, ObjectStore


@dataclass(frozen=True, slots=True)
class Scope:
    """What is compared: the keys below a prefix, of a range of days; ``is_deep``: every object is read."""

    prefix: str
    days: Days
    is_deep: bool

    def holds(self, key: str) -> bool:
        """Tell whether a key lies in it."""
        folder = day_folder(key, self.prefix)
        return folder is not None and self.days.holds(folder)


def stored_rows(store: ObjectStore, scope: Scope, figures: Figures) -> Iterator[Stored]:
    """List the objects, sorted by key; what lies beside the records is counted. Raises StoreError."""
    for entry in _listed(store, scope):
        folder = day_folder(entry.key, scope.prefix)
        if folder is None or not entry.key.endswith(".json"):
            figures.other_objects += 1
        elif scope.days.holds(folder):
            name = parse_key(entry.key)
            yield Stored(entry.key, entry.size, entry.modified_ms, is_named_as_record=name is not None)


def _listed(store: ObjectStore, scope: Scope) -> Iterator[ObjectEntry]:
    folders = scope.days.folders()
    if folders is None:
        yield from store.list(scope.prefix)
        return
    for folder in folders:
        yield from store.list(f"{scope.prefix}/{folder}" if scope.prefix else folder)


def indexed_rows(index: IndexReader, scope: Scope, figures: Figures) -> Iterator[Indexed]:
    """Give the items, in any order; those of objects of another prefix are counted. Raises IndexUnavailableError."""
    head = f"{scope.prefix}/" if scope.prefix else ""
    for item in index.items(scope.days.since, scope.days.until):
        name = f"{item.started_at[:10].replace('-', '/')}/{item.stem}.json"
        key = item.audit_object_key
        if not key.startswith(head) and key.endswith(f"/{name}"):
            figures.elsewhere += 1
            continue
        yield Indexed(
            key=head + name,
            partition=f"project#{item.source or '-'}",
            bucket=item.audit_bucket,
            object_key=key,
            sha256=item.audit_object_sha256,
            writer=item.writer_id,
            sequence=item.sequence,
            outcome=item.outcome,
            fingerprint=fingerprint(item) if scope.is_deep else "",
        )


def fingerprint(item: Item) -> str:
    """Give each attribute's name with a short digest of its value, joined by spaces.

    Without what depends on how a table is set up: its shards, and when items leave it.
    """
    values = attributes(replace(item, status_shard=None, expires_at=None))
    return " ".join(
        f"{name}:{sha256(repr(value).encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
        for name, value in values.items()
    )


def ledgered_rows(ledger: LedgerReader, scope: Scope, figures: Figures) -> Iterator[Ledgered]:
    """Give the ledger's rows, in any order; those of another prefix are counted. Raises LedgerError."""
    for row in ledger.rows():
        folder = day_folder(row.key, scope.prefix)
        if folder is None:
            figures.elsewhere += 1
        elif scope.days.holds(folder):
            yield Ledgered(row.key, row.writer, row.boot, row.sequence, row.sha256, row.size)
