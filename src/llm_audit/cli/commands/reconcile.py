"""``llm-audit reconcile``: every call in journal, store and index, compared."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from llm_audit.cli.comparing.comparison import Comparison, Sources
from llm_audit.cli.comparing.days import Days, whole_days
from llm_audit.cli.comparing.sources import ATTRIBUTES, Scope
from llm_audit.cli.indexes import item_settings, open_for_writing, open_index
from llm_audit.cli.kinds import parse_duration
from llm_audit.cli.reading import ProblemError, open_objects, problems
from llm_audit.cli.settings import READING, Settings, with_settings
from llm_audit.cli.terminal import console, harmless, shown_count
from llm_audit.index.index import Index, IndexMissingError, IndexReader
from llm_audit.index.schema import ItemSettings
from llm_audit.integrity.completeness import TO_DO, Figures, Finding, Rules
from llm_audit.journal.files import writer_directories
from llm_audit.query.filters import parse_time
from llm_audit.ship.ledger import LedgerError
from llm_audit.ship.ledger_reader import LedgerReader

S3_READERS = 16
"""Objects read at once from a bucket; from a folder, one after another is fastest."""


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return value if isinstance(value, float) else parse_duration(value)
        except ValueError:
            self.fail(f"{value!r} is no duration, expected one such as 30s, 10m or 1h", param, ctx)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The command's own options."""

    days: Days
    grace_s: float
    is_deep: bool
    is_repairing: bool
    as_json: bool


@click.command(
    epilog="Example: llm-audit reconcile --since 24h --repair",
    short_help="Compare journal, store and index, call by call.",
)
@click.option(
    "--since", metavar="SINCE", help="Calls of this day and later: 2026-11-24, or so long ago: 24h, 7d."
)
@click.option("--until", metavar="UNTIL", help="Calls that began before this time, to the end of its day.")
@click.option(
    "--grace",
    type=_Duration(),
    default="60s",
    show_default=True,
    metavar="DURATION",
    help="What is younger may still be on its way from journal to index, and is no finding.",
)
@click.option("--deep", is_flag=True, help="Read every object: digests, sequences and all of each item.")
@click.option("--repair", is_flag=True, help="Index again what is missing or different, then compare again.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON line for each finding, and one with the figures."
)
@with_settings(*READING, "journal_dir")
def command(
    settings: Settings,
    since: str | None,
    until: str | None,
    grace: float,
    *,
    deep: bool,
    repair: bool,
    as_json: bool,
) -> None:
    """Name every call that is missing or different anywhere, and count all: accepted, recorded, indexed, unexplained.

    Compares what the writers' journals hold, what the shipper's ledger says it stored, the objects and the index,
    as far as they are reachable from here, and says what it did not look at. Whole days (UTC), by the start of
    the call. Safe while serving. Objects are never touched. With DynamoDB, give --deep and --repair the Lambda's
    MAX_PREVIEW_CHARS, STATUS_SHARDS and RETENTION_DAYS in the environment. Items that left a table by its retention
    show as missing: keep the range within it. Exit code 1 where something is found.
    """
    now_ms = time.time_ns() // 1_000_000
    with problems():
        times = [None if text is None else parse_time(text, now_ms) for text in (since, until)]
    try:
        days = whole_days(times[0], times[1], now_ms)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    asked = _Asked(days, grace, deep, repair, as_json)
    with problems(), _sources(settings) as sources:
        try:
            figures = _reconcile(settings, sources, asked)
        except (LedgerError, OSError) as error:
            raise ProblemError(str(error)) from None
        _say_end(figures, asked, _left_out(settings, sources, asked))
    if not figures.is_clean:
        raise ProblemError(f"{shown_count(figures.unexplained)} calls are unexplained")


@contextmanager
def _sources(settings: Settings) -> Iterator[Sources]:
    """Open what is there. Raises ProblemError where there is nothing at all."""
    with ExitStack() as opened:
        index: IndexReader | None = None
        try:
            index = open_index(settings)
            opened.callback(index.close)
        except IndexMissingError:
            pass  # every item is missing then, and that is what will be said
        ledger = None
        if settings.ledger_path.exists():
            try:
                ledger = LedgerReader(settings.ledger_path)
            except LedgerError as error:
                raise ProblemError(str(error)) from None
            opened.callback(ledger.close)
        journal = settings.journal_dir if writer_directories(settings.journal_dir) else None
        store = open_objects(settings)
        is_bare = index is None and ledger is None and journal is None
        if is_bare and next(iter(store.list(settings.prefix)), None) is None:
            raise ProblemError(
                f"there is nothing to compare: no journal in {settings.journal_dir}, no index, and no record below "
                f"{settings.prefix}/ in {store.bucket}; check AUDIT_DATA_DIR, AUDIT_BUCKET and AUDIT_PREFIX"
            )
        yield Sources(store, index, ledger, journal)


def _reconcile(settings: Settings, sources: Sources, asked: _Asked) -> Figures:
    """Compare; where asked, repair and compare again."""
    items = item_settings(settings)
    if not asked.is_repairing:
        return _compare(settings, sources, asked, items)
    writing = open_for_writing(settings, items)
    try:
        first = _compare(settings, sources, asked, items, writing)
        if not first.repaired:
            return first
        if not asked.as_json:
            click.echo(f"{shown_count(first.repaired)} objects were indexed again; compared once more:")
        again = Sources(sources.store, writing, sources.ledger, sources.journal)
        second = _compare(settings, again, asked, items)
        second.repaired = first.repaired
        return second
    finally:
        writing.close()


def _compare(
    settings: Settings,
    sources: Sources,
    asked: _Asked,
    items: ItemSettings,
    repair_into: Index | None = None,
) -> Figures:
    columns = (SpinnerColumn(), TextColumn("{task.completed} {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as progress:
        task = progress.add_task("calls compared", total=None)
        now_ms = time.time_ns() // 1_000_000
        rules = Rules(now_ms, int(asked.grace_s * 1000), sources.store.bucket, ATTRIBUTES)
        return Comparison(
            sources,
            Scope(settings.prefix, asked.days, asked.is_deep),
            rules,
            on_finding=lambda finding: _say_finding(finding, as_json=asked.as_json),
            on_progress=lambda doing, count: progress.update(task, description=doing, completed=count),
            repair_into=repair_into,
            item_settings=items,
            readers=S3_READERS if settings.is_s3 else 1,
        ).run()


def _say_finding(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(finding.as_dict()))
    else:
        click.echo(f"{finding.kind:20} {harmless(f'{finding.subject}  {finding.detail}', one_line=True)}")


def _left_out(settings: Settings, sources: Sources, asked: _Asked) -> list[str]:
    """Say what was not looked at, and how it could be."""
    left_out = []
    if sources.journal is None:
        left_out.append(
            f"journals: there is none in {settings.journal_dir}; calls in flight show where they run"
        )
    if sources.ledger is None:
        left_out.append("what the shipper says it stored: its ledger lies beside the journal")
    elif not sources.ledger.is_whole():
        left_out.append("what the shipper stored more than two days ago: its ledger keeps no longer")
    if sources.index is None:
        left_out.append("the index: there is none, so every item is missing")
    if not asked.is_deep:
        sequences = "" if sources.ledger else "; nor gaps in the writers' sequences"
        left_out.append(f"what is in the objects: --deep reads and hashes every one{sequences}")
    return left_out


def _say_end(figures: Figures, asked: _Asked, left_out: list[str]) -> None:
    if asked.as_json:
        ended = {"since": asked.days.since, "until": asked.days.until, "notLookedAt": left_out}
        click.echo(json.dumps({"figures": figures.as_dict(), **ended}))
        return
    for kind, calls in sorted(figures.kinds.items()):
        click.echo(f"to do about {kind} ({shown_count(calls)}): {TO_DO[kind]}")
    click.echo(f"calls that began from {asked.days.words()}:")
    counts = ("accepted", "recorded", "indexed", "under_way", "unexplained")
    click.echo(
        " · ".join(f"{shown_count(getattr(figures, name))} {name.replace('_', ' ')}" for name in counts)
    )
    click.echo(
        f"{shown_count(figures.refusals)} of them refusals · {shown_count(figures.refusals_counted)} refusals more "
        f"only counted ({shown_count(figures.refusals_counted_untold)} not on record yet)"
    )
    click.echo(
        f"{shown_count(figures.unaudited)} calls passed unaudited (AUDIT_WHEN_FULL=pass; "
        f"{shown_count(figures.unaudited_untold)} not on record yet)"
    )
    if asked.is_deep:
        click.echo(
            f"{shown_count(figures.read)} objects read · {shown_count(figures.counted_only)} calls on record as a count only"
        )
    beside = (
        ("other objects", figures.other_objects),
        ("rows and items of other prefixes", figures.elsewhere),
    )
    for words, count in beside:
        if count:
            click.echo(f"{shown_count(count)} {words}, not compared")
    for line in left_out:
        click.echo(harmless(f"not looked at: {line}", one_line=True), err=True)
