"""The pipeline: notifications of new objects → documents → items → index. Standard library only.

It knows neither S3 nor folders nor what runs it: a function that opens an object and an index are given. On
one machine the shipper calls it with each batch that it stored; in the cloud the Lambda handler does, with
the objects an event names. Writing the same object twice changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import islice
from typing import Literal, Protocol

from llm_audit.index.schema import Item, ItemSettings, NotAnAuditDocumentError, item_from_document
from llm_audit.ingest.documents import read_head

logger = logging.getLogger(__name__)

WRITE_BATCH = 500
"""Items per write: large enough to pay for its sync, small enough to let other writers in between."""


@dataclass(frozen=True, slots=True)
class Notification:
    """An object was created (or is to be read again). ``key`` is decoded."""

    bucket: str
    key: str


class ObjectGoneError(Exception):
    """The object was deleted since it was notified of: nothing is left to be read, now or later."""


OpenObject = Callable[[Notification], Iterable[bytes]]
"""Opens an object as pieces of bytes. What raises ObjectGoneError is skipped; whatever else it raises counts as an
error of that object alone."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Objects that did not become items, and why, in words that hold nothing of their content."""

    outcome: Literal["skipped", "failed"]
    notifications: tuple[Notification, ...]
    reason: str


Report = Callable[[Trouble], None]
"""Is told of each trouble as it comes, perhaps in several threads."""


def log_trouble(trouble: Trouble) -> None:
    """Say it through ``logging``: what runs on one machine has no other way."""
    level = logging.WARNING if trouble.outcome == "skipped" else logging.ERROR
    if len(trouble.notifications) == 1:
        (one,) = trouble.notifications
        logger.log(level, "%s %a in %s: %s", trouble.outcome, one.key, one.bucket, trouble.reason)
    else:
        logger.log(level, "%s %d objects: %s", trouble.outcome, len(trouble.notifications), trouble.reason)


class ItemWriter(Protocol):
    """What ingestion needs of an index."""

    def put(self, items: Sequence[Item]) -> None:
        """Write a batch, wholly or not at all; writing an item twice changes nothing."""


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of a batch. ``processed`` = ``written`` + ``skipped`` + ``errors``."""

    written: int = 0
    skipped: int = 0
    failed: tuple[Notification, ...] = ()
    """Those that must be delivered again: the object could not be read, or the index did not take it."""

    @property
    def errors(self) -> int:
        """How many must be delivered again."""
        return len(self.failed)

    @property
    def processed(self) -> int:
        """How many were looked at: all."""
        return self.written + self.skipped + self.errors

    def as_dict(self) -> dict[str, int]:
        """Give the answer of the contract."""
        return {
            "processed": self.processed,
            "written": self.written,
            "skipped": self.skipped,
            "errors": self.errors,
        }


def ingest(
    notifications: Iterable[Notification],
    open_object: OpenObject,
    index: ItemWriter,
    settings: ItemSettings | None = None,
    *,
    batch_size: int = WRITE_BATCH,
    readers: int = 1,
    report: Report = log_trouble,
) -> IngestResult:
    """Work through all notifications, whatever happens to single ones; never raises for one of them.

    What is no audit document, or gone, is skipped and reported; what could not be read or written is reported and
    in ``failed``, and the caller sees to it that it comes again. ``readers`` threads read objects at once: a bucket answers
    after milliseconds, so one alone would read a hundred a second; ``open_object`` is then called in threads.
    """
    written, skipped = 0, 0
    failed: list[Notification] = []
    for batch in read_objects(
        notifications, open_object, settings, batch_size=batch_size, readers=readers, report=report
    ):
        skipped += batch.skipped
        failed += batch.failed
        if _put(index, batch, report):
            written += len(batch.items)
        else:
            failed += batch.read
    return IngestResult(written, skipped, tuple(failed))


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """Some objects, read: ``read`` were those whose ``items`` came out, in the same order."""

    read: tuple[Notification, ...]
    items: tuple[Item, ...]
    skipped: int
    failed: tuple[Notification, ...]


def read_objects(
    notifications: Iterable[Notification],
    open_object: OpenObject,
    settings: ItemSettings | None = None,
    *,
    batch_size: int = WRITE_BATCH,
    readers: int = 1,
    report: Report = log_trouble,
) -> Iterator[ReadBatch]:
    """Read objects batch by batch, several at once; raises only what going through ``notifications`` raises."""
    read = partial(_read, open_object=open_object, settings=settings, report=report)
    source = iter(notifications)
    with ThreadPoolExecutor(readers, thread_name_prefix="ingest") as pool:
        # Threads start when work is first given to them: one reader needs none.
        several = pool.map if readers > 1 else map
        while batch := list(islice(source, batch_size)):
            outcomes = list(zip(batch, several(read, batch), strict=True))
            found = [(one, outcome) for one, outcome in outcomes if isinstance(outcome, Item)]
            yield ReadBatch(
                read=tuple(one for one, _ in found),
                items=tuple(item for _, item in found),
                skipped=sum(outcome is _Unusable.SKIPPED for _, outcome in outcomes),
                failed=tuple(one for one, outcome in outcomes if outcome is _Unusable.FAILED),
            )


class _Unusable(Enum):
    SKIPPED = "no audit document"
    FAILED = "could not be read"


def _read(
    notification: Notification, *, open_object: OpenObject, settings: ItemSettings | None, report: Report
) -> Item | _Unusable:
    key, bucket = notification.key, notification.bucket
    try:
        head = read_head(open_object(notification))
        return item_from_document(head.document, bucket, key, head.sha256, settings)
    except (NotAnAuditDocumentError, ObjectGoneError) as error:
        report(Trouble("skipped", (notification,), str(error)))
        return _Unusable.SKIPPED
    except Exception as error:  # noqa: BLE001 - one object that cannot be read must not stop the others
        report(Trouble("failed", (notification,), f"it cannot be read: {error}"))
        return _Unusable.FAILED


def _put(index: ItemWriter, batch: ReadBatch, report: Report) -> bool:
    try:
        if batch.items:
            index.put(batch.items)
    except Exception as error:  # noqa: BLE001 - the rest of the event is still worked through
        report(Trouble("failed", batch.read, f"the index did not take it: {error}"))
        return False
    return True
