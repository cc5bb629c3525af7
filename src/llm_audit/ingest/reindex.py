"""An index from the objects alone: every object read again, several at once, and on from where a killed run was.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, TypeVar

from llm_audit.index.schema import Item, ItemSettings
from llm_audit.ingest.ingest import WRITE_BATCH, Notification, OpenObject, ReadBatch, read_objects

READERS = 8
"""Objects read at once: a bucket answers in some milliseconds, of which most are waiting."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rebuilding is: every object up to the key ``after``, in the order of keys, is dealt with."""

    after: str = ""
    written: int = 0
    skipped: int = 0
    unread: tuple[str, ...] = ()

    @property
    def seen(self) -> int:
        """How many objects were looked at."""
        return self.written + self.skipped + len(self.unread)

    def plus(self, batch: ReadBatch, after: str) -> Progress:
        """Give the progress after another batch, whose last key is ``after``."""
        return Progress(
            after,
            self.written + len(batch.items),
            self.skipped + batch.skipped,
            (*self.unread, *(notification.key for notification in batch.failed)),
        )


class Rebuilding(Protocol):
    """What rebuilding needs of an index: batches with a memory, and an end that removes what no object stands for."""

    @property
    def progress(self) -> tuple[str, int, int, tuple[str, ...]]:
        """What ``Progress`` says, as an earlier run left it; its fields in order."""

    def put(self, items: Sequence[Item], after: str, skipped: int, unread: Sequence[str]) -> None:
        """Write a batch, and remember durably that every object up to ``after`` is dealt with.

        ``skipped`` and ``unread`` are all so far.
        """

    def finish(self) -> int:
        """Remove what was not written, except items of objects that could not be read; gives how many."""


ListAfter = Callable[[str], Iterable[Notification]]
"""Lists the objects whose keys sort after one, in the order of keys."""


@dataclass(frozen=True, slots=True)
class ReindexResult:
    """What a rebuilding found. Items of ``unread`` objects, if there were any, are as they were before."""

    written: int
    skipped: int
    removed: int
    unread: tuple[str, ...]


def reindex(
    list_after: ListAfter,
    open_object: OpenObject,
    index: Rebuilding,
    on_progress: Callable[[int], object] = lambda _seen: None,
    settings: ItemSettings | None = None,
    *,
    readers: int = READERS,
) -> ReindexResult:
    """Build the index anew, or go on where ``index`` remembers that a run was killed.

    ``on_progress`` is told how many objects were looked at so far. Raises what listing the objects or writing the index
    raises; then the index is usable, but unfinished, and the next run goes on.
    """
    progress = Progress(*index.progress)
    batches = _batches(list_after(progress.after), open_object, settings, readers)
    for batch, last in _one_ahead(batches):
        progress = progress.plus(batch, last)
        index.put(batch.items, last, progress.skipped, progress.unread)
        on_progress(progress.seen)
    return ReindexResult(progress.written, progress.skipped, index.finish(), progress.unread)


def _batches(
    objects: Iterable[Notification], open_object: OpenObject, settings: ItemSettings | None, readers: int
) -> Iterator[tuple[ReadBatch, str]]:
    """Read batch after batch, each with its last key."""
    source = iter(objects)
    while part := list(islice(source, WRITE_BATCH)):
        for batch in read_objects(part, open_object, settings, batch_size=WRITE_BATCH, readers=readers):
            yield batch, part[-1].key


_One = TypeVar("_One")


def _one_ahead(source: Iterator[_One]) -> Iterator[_One]:
    """Give what an iterator gives, while the next is being made: objects are read while items are written."""
    with ThreadPoolExecutor(1, thread_name_prefix="reindex") as pool:
        upcoming = pool.submit(next, source, None)
        while (one := upcoming.result()) is not None:
            upcoming = pool.submit(next, source, None)
            yield one
