"""The pipeline: notifications of new objects → documents → items → index. Standard library only.

It knows neither S3 nor folders nor what runs it: a function that opens an object and an index are given. On
one machine the shipper calls it with each batch that it stored; in the cloud the Lambda handler does, with
the objects an event names. Writing the same object twice changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

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


OpenObject = Callable[[Notification], Iterable[bytes]]
"""Opens an object as pieces of bytes; whatever it raises counts as an error of that object alone."""


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
    batch_size: int = WRITE_BATCH,
) -> IngestResult:
    """Work through all notifications, whatever happens to single ones; never raises for one of them.

    What is no audit document is skipped and logged; what could not be read or written is in ``failed``, and
    the caller sees to it that it comes again.
    """
    written, skipped = 0, 0
    failed: list[Notification] = []
    batch: list[tuple[Notification, Item]] = []

    def flush() -> int:
        sources = [notification for notification, _ in batch]
        items = [item for _, item in batch]
        batch.clear()
        if not items or _put(index, items):
            return len(items)
        failed.extend(sources)
        return 0

    for notification in notifications:
        try:
            batch.append((notification, read_item(notification, open_object, settings)))
        except NotAnAuditDocumentError as error:
            skipped += 1
            logger.warning("skipped %s in %s: %s", notification.key, notification.bucket, error)
        except Exception as error:  # noqa: BLE001 - one object that cannot be read must not stop the others
            failed.append(notification)
            logger.error("cannot read %s in %s: %s", notification.key, notification.bucket, error)  # noqa: TRY400 - a traceback may hold content
        if len(batch) >= batch_size:
            written += flush()
    written += flush()
    return IngestResult(written, skipped, tuple(failed))


def read_item(
    notification: Notification, open_object: OpenObject, settings: ItemSettings | None = None
) -> Item:
    """Read one object and give its item; raises NotAnAuditDocumentError, or whatever opening it raises."""
    head = read_head(open_object(notification))
    return item_from_document(head.document, notification.bucket, notification.key, head.sha256, settings)


def _put(index: ItemWriter, items: Sequence[Item]) -> bool:
    try:
        index.put(items)
    except Exception as error:  # noqa: BLE001 - the rest of the event is still worked through
        logger.error("the index did not take %d items: %s", len(items), error)  # noqa: TRY400 - a traceback may hold content
        return False
    return True
