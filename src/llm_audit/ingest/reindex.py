"""An index from the objects alone: every object read again, several at once. Standard library only."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Protocol

from llm_audit.index.schema import Item, ItemSettings, NotAnAuditDocumentError
from llm_audit.ingest.ingest import WRITE_BATCH, Notification, OpenObject, read_item

logger = logging.getLogger(__name__)

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
    read = partial(_read, open_object=open_object, settings=settings)
    with ThreadPoolExecutor(READERS, thread_name_prefix="reindex") as pool:
        for batch in _batches(objects):
            outcomes = list(pool.map(read, batch))
            items = [outcome for outcome in outcomes if isinstance(outcome, Item)]
            index.put(items)
            written += len(items)
            unread += [
                notification.key
                for notification, outcome in zip(batch, outcomes, strict=True)
                if outcome is _UNREAD
            ]
            skipped += sum(outcome is _SKIPPED for outcome in outcomes)
            on_progress(written + skipped + len(unread))
    return ReindexResult(written, skipped, index.finish(unread), tuple(unread))


_UNREAD = object()
_SKIPPED = object()


def _read(notification: Notification, *, open_object: OpenObject, settings: ItemSettings | None) -> object:
    try:
        return read_item(notification, open_object, settings)
    except NotAnAuditDocumentError as error:
        logger.info("skipped %s: %s", notification.key, error)
        return _SKIPPED
    except Exception as error:  # noqa: BLE001 - one object that cannot be read must not stop the others
        logger.error("cannot read %s: %s", notification.key, error)  # noqa: TRY400 - a traceback may hold content
        return _UNREAD


def _batches(objects: Iterable[Notification]) -> Iterator[list[Notification]]:
    source = iter(objects)
    while batch := list(islice(source, WRITE_BATCH)):
        yield batch
