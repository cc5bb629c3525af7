"""``llm-audit reindex``: the index, built again from the objects alone, while everything goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from llm_audit.cli.reading import ProblemError, open_objects, problems
from llm_audit.cli.settings import READING, Settings, refuse, with_settings
from llm_audit.cli.terminal import console
from llm_audit.index.index import IndexDamagedError
from llm_audit.index.sqlite import SqliteIndex, SqliteReader, set_aside
from llm_audit.index.sqlite_rebuild import Rebuild
from llm_audit.ingest.ingest import Notification
from llm_audit.ingest.reindex import ReindexResult, reindex
from llm_audit.store.objects import ObjectStore


@click.command(
    epilog="Example: llm-audit reindex --data-dir /var/lib/llm-audit",
    short_help="Build the index again from the objects alone.",
)
@with_settings(*READING)
def command(settings: Settings) -> None:
    """Read every stored record and make the index what they say; what has no object leaves it.

    Safe while serving: queries see the old index turn into the new one, and new calls come in meanwhile. A
    damaged index file is set aside first. Exit code 1 where objects could not be read.
    """
    if settings.index != "sqlite":
        refuse("index", settings.index, "`sqlite`: this command builds the embedded index")
    with problems():
        store = open_objects(settings)
        if next(_objects(store, settings.prefix), None) is None:
            raise ProblemError(
                f"there is no record below {settings.prefix}/ in {store.bucket}; nothing was changed"
            )
        aside = _set_aside_if_damaged(settings.index_path)
        if aside:
            click.echo(f"the index was damaged; its file is now {aside}", err=True)
        index = SqliteIndex(settings.index_path)
        try:
            result = _run(store, settings.prefix, index)
        finally:
            index.close()
    click.echo(f"{result.written} calls indexed, {result.removed} removed, {result.skipped} other objects")
    if result.unread:
        shown = ", ".join(result.unread[:3])
        raise ProblemError(f"{len(result.unread)} objects could not be read: {shown}; their items were left")


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


def _run(store: ObjectStore, prefix: str, index: SqliteIndex) -> ReindexResult:
    columns = (SpinnerColumn(), TextColumn("{task.completed} objects read"), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("objects", total=None)
        return reindex(
            _objects(store, prefix),
            lambda notification: store.stream(notification.key),
            Rebuild(index),
            lambda seen: progress.update(task, completed=seen),
        )


def _objects(store: ObjectStore, prefix: str) -> Iterator[Notification]:
    for entry in store.list(prefix):
        if entry.key.endswith(".json"):
            yield Notification(store.bucket, entry.key)
