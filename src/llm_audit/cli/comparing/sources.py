"""Ledger, store and index as rows of ``completeness``, as far as they speak of a prefix and a range of days."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter

from llm_audit.cli.comparing.days import Days, day_folder
from llm_audit.index.index import IndexReader
from llm_audit.index.schema import Item
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
            fingerprint=fingerprint(item) if scope.is_deep else (),
        )


_OF_THE_TABLE = frozenset({"status_shard", "expires_at"})
"""What depends on how a table is set up: its shards, and when items leave it."""
_FIELDS = tuple(name for name in Item.__dataclass_fields__ if name not in _OF_THE_TABLE)
_values = attrgetter(*_FIELDS)
ATTRIBUTES = tuple(
    head + "".join(part.capitalize() for part in rest)
    for head, *rest in (name.split("_") for name in _FIELDS)
)
"""What is compared of an item when all is, by the names of contracts.md."""


def fingerprint(item: Item) -> tuple[int, ...]:
    """Give a hash of each of ``ATTRIBUTES``: Python's, keyed anew in each process, so nobody can aim at it."""
    return tuple(map(hash, _values(item)))


def ledgered_rows(ledger: LedgerReader, scope: Scope, figures: Figures) -> Iterator[Ledgered]:
    """Give the ledger's rows, in any order; those of another prefix are counted. Raises LedgerError."""
    for row in ledger.rows():
        folder = day_folder(row.key, scope.prefix)
        if folder is None:
            figures.elsewhere += 1
        elif scope.days.holds(folder):
            yield Ledgered(row.key, row.writer, row.boot, row.sequence, row.sha256, row.size)
