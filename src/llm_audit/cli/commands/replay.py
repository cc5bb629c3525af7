"""``llm-audit replay``: journals saved from a dead machine, or saved documents, into store and index."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from llm_audit.cli.processes.shipper import indexing
from llm_audit.cli.reading import ProblemError, open_objects, problems
from llm_audit.cli.settings import READING, Settings, with_settings
from llm_audit.cli.terminal import console, harmless
from llm_audit.ship.ledger import LedgerError
from llm_audit.ship.replay import NotReplayableError, Replayed, replay_journals, replay_objects, writers_in
from llm_audit.ship.shipper import ShipConfig
from llm_audit.ship.status import ShipperStatus
from llm_audit.store.objects import ObjectStore

_SHOWN_PROBLEMS = 10
_Show = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Work:
    """What the arguments turned out to be."""

    writers: tuple[Path, ...]
    documents: tuple[Path, ...]


@click.command(
    epilog="Example: llm-audit replay /mnt/rescued/journal  (or: llm-audit replay saved/*.json)",
    short_help="Store again what was saved: journals or documents.",
)
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="FILE..."
)
@with_settings(*READING, "index_writer")
def command(settings: Settings, files: tuple[Path, ...]) -> None:
    """Put what was saved into store and index: a FILE is a journal's folder, one writer's folder in it, or a document.

    Of a folder without a journal, all .json files are taken. Nothing that is stored already is stored twice or
    changed, and the files are only read. Calls that a saved journal holds without their end become `interrupted`.
    Exit code 1 where something could not be stored.
    """
    try:
        work = _sort(files)
    except NotReplayableError as error:
        raise click.UsageError(str(error)) from None
    with problems():
        store = open_objects(settings)
        try:
            replayed = asyncio.run(_watched(work, store, settings))
        except (OSError, LedgerError) as error:
            raise ProblemError(str(error)) from None
    click.echo(
        f"{replayed.stored} records stored or found ({replayed.found} were there already), "
        f"{replayed.quarantined} as stubs of what could not be read"
    )
    for problem in replayed.problems[:_SHOWN_PROBLEMS]:
        click.echo(harmless(problem, one_line=True), err=True)
    if replayed.problems:
        raise ProblemError(
            f"{len(replayed.problems)} problems; mend them and replay again, it changes nothing twice"
        )


def _sort(files: Sequence[Path]) -> _Work:
    """Tell journals from documents. Raises NotReplayableError."""
    writers: list[Path] = []
    documents: list[Path] = []
    for file in files:
        if not file.is_dir():
            if file.suffix in {".seg", ".carry"}:
                raise NotReplayableError(
                    f"{file} is one segment of a journal: give the folder that it lies in"
                )
            documents.append(file)
        elif found := writers_in(file):
            writers += found
        elif found := sorted(file.rglob("*.json")):
            documents += found
        else:
            raise NotReplayableError(f"{file} holds neither a journal (w-*/*.seg) nor documents (*.json)")
    return _Work(tuple(writers), tuple(documents))


async def _watched(work: _Work, store: ObjectStore, settings: Settings) -> Replayed:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading")
        return await _replay(work, store, settings, lambda text: progress.update(task, description=text))


async def _replay(work: _Work, store: ObjectStore, settings: Settings, show: _Show) -> Replayed:
    total = Replayed()
    with indexing(settings, store) as notify:
        if work.writers:
            config = ShipConfig(
                journal=settings.data_dir,
                quarantine=settings.quarantine_dir,
                status_file=settings.status_dir / "replay.json",
                status_every_s=0.2,
            )
            total += await replay_journals(
                work.writers, store, notify, config, progress=lambda status: show(_words(status))
            )
        if work.documents:
            show(f"{len(work.documents)} documents")
            total += await replay_objects(work.documents, store, notify, settings.prefix)
    return total


def _words(status: ShipperStatus) -> str:
    words = f"{status.stored} records"
    if status.store_error is None:
        return words
    return f"{words}; waiting for the store: {harmless(status.store_error.message, one_line=True)}"
