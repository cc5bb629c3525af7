"""``llm-audit query``: calls found again, by caller, status, latency, time or text."""

from __future__ import annotations

import json
from collections.abc import Iterable

import click

from llm_audit.cli.reading import item_json, reading, with_filters
from llm_audit.cli.settings import READING, Settings, with_settings
from llm_audit.cli.tables import calls_table
from llm_audit.cli.terminal import console, harmless
from llm_audit.index.index import Page
from llm_audit.index.selection import Order
from llm_audit.query.filters import Filter
from llm_audit.query.pages import Listing, list_calls, pages

_ORDERS = {"time": Order.NEWEST, "latency": Order.SLOWEST}


@click.command(
    epilog="Example: llm-audit query --source billing --status 500 --since 2h",
    short_help="Find calls by caller, status, latency, time or text.",
)
@with_filters
@click.option("--sort", type=click.Choice(list(_ORDERS)), default="time", help="Newest or slowest first.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="How many calls."
)
@click.option("--cursor", metavar="CURSOR", help="Go on where a list ended; with the same filters.")
@click.option("--json", "as_json", is_flag=True, help="One JSON line for each call, with the item's names.")
@with_settings(*READING)
def command(
    settings: Settings, filters: list[Filter], sort: str, limit: int, cursor: str | None, *, as_json: bool
) -> None:
    """List calls, newest first, with what they asked, took and cost.

    Filters narrow the list together. Exit code 0 also where nothing is found. DynamoDB answers a source or user over
    time, a status over time, and a source by latency; for anything else it looks at 10,000 calls at most, and a list
    that may miss some says so (with --json in a last line, {"partial": true, "cursor": ...}).
    """
    order = _ORDERS[sort]
    with reading(settings) as index:
        if as_json:
            _print_lines(pages(index, filters, order, limit, cursor))
        else:
            _print_table(list_calls(index, filters, order, limit, cursor))


def _print_lines(found: Iterable[Page]) -> None:
    """Print page by page, so that a long list takes no memory; what is no call goes to stderr.

    But that calls may be missing is said where a program reads, too: in a last line with ``partial`` and no call.
    """
    page = Page(())
    for page in found:
        for item in page.items:
            click.echo(item_json(item))
    if page.partial:
        click.echo(json.dumps({"partial": True, "cursor": page.cursor}))
    _say_partial(is_partial=page.partial)
    if page.cursor:
        click.echo(f"more: --cursor {page.cursor}", err=True)


def _say_partial(*, is_partial: bool) -> None:
    if is_partial:
        click.echo(
            "partial: the index could not look at everything; go on there, or narrow the filters", err=True
        )


def _print_table(listing: Listing) -> None:
    screen = console()
    if listing.items:
        screen.print(calls_table(listing.items, screen.width))
    count = len(listing.items)
    words = listing.sentence if count != 1 else listing.sentence.replace("calls", "call", 1)
    line = f"{count or 'no'} {harmless(words, one_line=True)}"
    screen.print(line, style="dim", soft_wrap=True)
    if listing.cursor:
        screen.print(f"more: add --cursor {listing.cursor}", style="dim", soft_wrap=True)
    _say_partial(is_partial=listing.partial)
