"""``llm-audit query``: calls found again, by caller, status, latency, time or text."""

from __future__ import annotations

import click

from llm_audit.cli.reading import item_json, reading, with_filters
from llm_audit.cli.settings import READING, Settings, with_settings
from llm_audit.cli.tables import calls_table
from llm_audit.cli.terminal import console, harmless
from llm_audit.index.selection import Order
from llm_audit.query.filters import Filter
from llm_audit.query.pages import Listing, list_calls

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

    Filters narrow the list together. Exit code 0 also where nothing is found.
    """
    with reading(settings) as index:
        listing = list_calls(index, filters, _ORDERS[sort], limit, cursor)
    if as_json:
        for item in listing.items:
            click.echo(item_json(item))
    else:
        _print(listing)
    if listing.partial:
        click.echo("partial: the index could not look at everything; narrow the filters", err=True)
    if listing.cursor and as_json:
        click.echo(f"more: --cursor {listing.cursor}", err=True)


def _print(listing: Listing) -> None:
    screen = console()
    if listing.items:
        screen.print(calls_table(listing.items, screen.width))
    count = len(listing.items)
    words = listing.sentence if count != 1 else listing.sentence.replace("calls", "call", 1)
    line = f"{count or 'no'} {harmless(words, one_line=True)}"
    screen.print(line, style="dim", soft_wrap=True)
    if listing.cursor:
        screen.print(f"more: add --cursor {listing.cursor}", style="dim", soft_wrap=True)
