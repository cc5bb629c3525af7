"""``llm-audit tail``: calls as they come into the index."""

from __future__ import annotations

import time
from collections.abc import Iterable

import click

from llm_audit.cli.indexes import open_index
from llm_audit.cli.reading import item_json, problems, with_filters
from llm_audit.cli.settings import READING, Settings, with_settings
from llm_audit.cli.tables import status_of, tokens_of
from llm_audit.cli.terminal import harmless, shown_ms, shown_time
from llm_audit.index.index import Arrivals, IndexMissingError, IndexReader
from llm_audit.index.matching import matches
from llm_audit.index.schema import NOBODY, Item
from llm_audit.index.selection import Selection
from llm_audit.query.filters import Filter, selection_of

WAIT_SECONDS = 0.3
"""Between two looks for an index that is not there yet."""


@click.command(
    epilog="Example: llm-audit tail --source billing --min-latency-ms 5000",
    short_help="Follow calls as they are recorded.",
)
@with_filters
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, 500),
    default=10,
    show_default=True,
    help="Newest calls first shown.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line for each call, with the item's names.")
@with_settings(*READING)
def command(settings: Settings, filters: list[Filter], lines: int, *, as_json: bool) -> None:
    """Print calls as they come into the index, until Ctrl-C. A call comes when it ended.

    DynamoDB keeps no order of arrival: there, a call that began more than a quarter of an hour before does not come.
    """
    selection = selection_of(filters)
    with problems():
        index = _wait_for_index(settings)
        try:
            position = index.arrivals().position
            newest = index.query(selection, limit=lines).items if lines else ()
            _print(reversed(newest), as_json=as_json)
            _follow_for_ever(index, selection, position, set(newest), as_json=as_json)
        except KeyboardInterrupt:
            return
        finally:
            index.close()


def _wait_for_index(settings: Settings) -> IndexReader:
    said = False
    while True:
        try:
            return open_index(settings)
        except IndexMissingError as error:
            if not said:
                click.echo(f"waiting: {error}", err=True)
                said = True
        time.sleep(WAIT_SECONDS)


def _follow_for_ever(
    index: IndexReader, selection: Selection, position: str, shown: set[Item], *, as_json: bool
) -> None:
    """Print everything that comes after ``position`` and was not ``shown`` already."""
    while True:
        try:
            arrived = index.arrivals(position)
        except IndexMissingError:  # set aside by a reindex; its successor comes in a moment
            arrived = Arrivals((), position)
        new = [item for item in arrived.items if item not in shown and matches(item, selection)]
        _print(new, as_json=as_json)
        position = arrived.position
        if arrived.partial:
            click.echo(
                "partial: more calls came at once than the index can follow; narrow what you follow", err=True
            )
        if not arrived.items:
            shown.clear()
            time.sleep(index.poll_seconds)


def _print(items: Iterable[Item], *, as_json: bool) -> None:
    for item in items:
        click.echo(item_json(item) if as_json else line_of(item))


def line_of(item: Item) -> str:
    """Give a call as one line."""
    words = (
        shown_time(item.started_at),
        item.source or NOBODY,
        item.user or NOBODY,
        item.request_type,
        item.model,
        status_of(item),
        shown_ms(item.latency_ms),
        tokens_of(item),
        item.request_id,
        (item.prompt_preview or "")[:80],
    )
    return "  ".join(harmless(word, one_line=True) for word in words if word)
