"""``llm-audit reindex``: the index, built again from the objects alone, while everything goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from llm_audit.cli.indexes import dynamodb_rebuild, item_settings, open_dynamodb, require_same_shape
from llm_audit.cli.reading import ProblemError, open_objects, problems
from llm_audit.cli.settings import READING, Settings, with_settings
from llm_audit.cli.terminal import console, shown_count
from llm_audit.index.index import IndexDamagedError
from llm_audit.index.schema import Item, ItemSettings
from llm_audit.index.sqlite import SqliteIndex, SqliteReader, set_aside
from llm_audit.index.sqlite_rebuild import Rebuild
from llm_audit.ingest.ingest import Notification, read_objects
from llm_audit.ingest.reindex import READERS, Rebuilding, ReindexResult, reindex
from llm_audit.store.objects import ObjectMissingError, ObjectStore, StoreError

LINE_SECONDS = 5.0
"""Between two lines of progress, where nobody watches a terminal."""

FOLDER_READERS = 2
"""Files read at once: a disk answers at once, and more threads than that wait for each other."""


@click.command(
    epilog="Example: llm-audit reindex --data-dir /var/lib/llm-audit",
    short_help="Build the index again from the objects alone.",
)
@click.option(
    "--from-start",
    is_flag=True,
    help="Do not go on where an earlier run was killed; begin with the first object.",
)
@with_settings(*READING)
def command(settings: Settings, *, from_start: bool) -> None:
    """Read every stored record and make the index what they say; what has no object leaves it.

    Safe while serving: queries see the old index turn into the new one, and new calls come in meanwhile. A run that
    was killed is gone on with, for a day. A damaged index file is set aside first. Into DynamoDB it writes what the
    Lambda would: give it the Lambda's MAX_PREVIEW_CHARS, STATUS_SHARDS and RETENTION_DAYS in the environment; it
    remembers its progress in the data dir. Exit code 1 where objects could not be read.
    """
    with problems(), ExitStack() as closing:
        store = open_objects(settings)
        if next(_objects(store, settings.prefix), None) is None:
            raise ProblemError(
                f"there is no record below {settings.prefix}/ in {store.bucket}; nothing was changed"
            )
        open_rebuilding = _into_sqlite if settings.index == "sqlite" else _into_dynamodb
        rebuilding, items = open_rebuilding(settings, store, closing, is_new=from_start)
        result = _run(store, settings, rebuilding, items)
    click.echo(f"{result.written} calls indexed, {result.removed} removed, {result.skipped} other objects")
    if result.unread:
        shown = ", ".join(result.unread[:3])
        raise ProblemError(f"{len(result.unread)} objects could not be read: {shown}; their items were left")


_Opened = tuple[Rebuilding, ItemSettings | None]


def _into_sqlite(settings: Settings, store: ObjectStore, closing: ExitStack, *, is_new: bool) -> _Opened:
    aside = _set_aside_if_damaged(settings.index_path)
    if aside:
        click.echo(f"the index was damaged; its file is now {aside}", err=True)
    index = SqliteIndex(settings.index_path)
    closing.callback(index.close)
    return Rebuild(index, f"{store.bucket}/{settings.prefix}", is_new=is_new), None


def _into_dynamodb(settings: Settings, store: ObjectStore, closing: ExitStack, *, is_new: bool) -> _Opened:
    items = item_settings(settings)
    index = open_dynamodb(settings)
    closing.callback(index.close)
    require_same_shape(index, items)
    rebuilding = dynamodb_rebuild(settings, index, store.bucket, _rereading(store, items), is_new=is_new)
    closing.callback(rebuilding.close)
    return rebuilding, items


def _rereading(store: ObjectStore, items: ItemSettings) -> Callable[[str], Item | None]:
    """Give what tells the item that an object stands for now; see ``dynamodb_rebuild.Reread``."""

    def reread(key: str) -> Item | None:
        try:
            store.get_head(key, 1)
        except ObjectMissingError:
            return None
        except StoreError as error:
            raise LookupError(key) from error
        notification = Notification(store.bucket, key)
        (batch,) = read_objects([notification], lambda one: store.stream(one.key), items)
        if batch.failed:
            raise LookupError(key)
        return batch.items[0] if batch.items else None

    return reread


def _set_aside_if_damaged(path: Path) -> Path | None:
    if not path.exists():
        return None
    try:
        reader = SqliteReader(path)
        try:
            reader.check()
        finally:
            reader.close()
    except IndexDamagedError:
        return set_aside(path)
    return None


def _run(
    store: ObjectStore, settings: Settings, rebuilding: Rebuilding, items: ItemSettings | None
) -> ReindexResult:
    after, written, skipped, unread = rebuilding.progress
    done = written + skipped + len(unread)
    if after:
        click.echo(f"going on after {after}, where a run ended early ({shown_count(done)} objects)", err=True)
    with _progress(done) as on_progress:
        return reindex(
            lambda after: _objects(store, settings.prefix, after),
            lambda notification: store.stream(notification.key),
            rebuilding,
            on_progress,
            items,
            readers=READERS if settings.is_s3 else FOLDER_READERS,
        )


@contextmanager
def _progress(done: int) -> Iterator[Callable[[int], None]]:
    """Show how many objects were read: moving on a terminal, a line now and then elsewhere."""
    if sys.stderr.isatty():
        columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} objects read"), TimeElapsedColumn())
        with Progress(*columns, console=console(stderr=True), transient=True) as progress:
            task = progress.add_task("objects", total=None, completed=done)
            yield lambda seen: progress.update(task, completed=seen)
        return
    said_at = time.monotonic()

    def say(seen: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= LINE_SECONDS:
            said_at = time.monotonic()
            click.echo(f"{shown_count(seen)} objects read", err=True)

    yield say


def _objects(store: ObjectStore, prefix: str, after: str = "") -> Iterator[Notification]:
    for entry in store.list(prefix, after):
        if entry.key.endswith(".json"):
            yield Notification(store.bucket, entry.key)
