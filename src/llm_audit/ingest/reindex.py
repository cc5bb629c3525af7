"""An index from the objects alone: every object read again, several at once. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from llm_audit.index.schema import Item, ItemSettings
from llm_audit.ingest.ingest import Notification, OpenObject, read_objects

READERS = 8
"""Objects read at once: a bucket answers in some milliseconds, of which most are waiting."""


class Rebuilding(Protocol):
    """What rebuilding needs of an index: batches, and an end that removes what no object stands for."""

    def put(self, items: Sequence[Item]) -> None:
        """Write a batch, wholly or not at all."""

    def finish(self, unread: Iterable[str] = ()) -> int:
        """Remove what was not written, except items of objects that could not be read; gives how many."""


@dataclass(frozen=True, slots=True)
class ReindexResult:
    """What a rebuilding found. Items of ``unread`` objects, if there were any, are as they were before."""

    written: int
    skipped: int
    removed: int
    unread: tuple[str, ...]


def reindex(
    objects: Iterable[Notification],
    open_object: OpenObject,
    index: Rebuilding,
    on_progress: Callable[[int], object] = lambda _seen: None,
    settings: ItemSettings | None = None,
) -> ReindexResult:
    """Build the index anew. ``on_progress`` is told how many objects were looked at so far.

    Raises what listing the objects or writing the index raises; then the index is usable, but unfinished.
    """
    written = skipped = 0
    unread: list[str] = []
    for batch in read_objects(objects, open_object, settings, readers=READERS):
        index.put(batch.items)
        written += len(batch.items)
        skipped += batch.skipped
        unread += [notification.key for notification in batch.failed]
        on_progress(written + skipped + len(unread))
    return ReindexResult(written, skipped, index.finish(unread), tuple(unread))
