"""``llm-audit stats``: how many calls, errors, tokens, and how long they took."""

from __future__ import annotations

import json

import click

from llm_audit.cli.reading import reading, with_filters
from llm_audit.cli.settings import READING, Settings, with_settings
from llm_audit.cli.tables import statistics_table
from llm_audit.cli.terminal import console
from llm_audit.index.tallies import Grouping
from llm_audit.query.filters import Filter, selection_of
from llm_audit.query.statistics import Statistics, statistics


@click.command(
    epilog="Example: llm-audit stats --by source --since 24h",
    short_help="Count calls, errors, tokens; percentiles of latency.",
)
@click.option(
    "--by",
    type=click.Choice([by.value for by in Grouping if by is not Grouping.ALL]),
    help="One line for each source, user or model, most calls first.",
)
@with_filters
@click.option("--json", "as_json", is_flag=True, help="One JSON line for each group.")
@with_settings(*READING)
def command(settings: Settings, filters: list[Filter], by: str | None, *, as_json: bool) -> None:
    """Count calls: errors, tokens, latency and time to first chunk (p50, p95, p99: real calls' values).

    An error is a call that did not end complete with a status under 400. DynamoDB counts the newest 10,000 calls at
    most; output that left some out says that it is partial.
    """
    with reading(settings) as index:
        found = statistics(index, selection_of(filters), Grouping(by) if by else Grouping.ALL)
    if as_json:
        _print_lines(found)
    elif found.groups:
        console().print(statistics_table(found))
    else:
        console().print("no calls", style="dim")
    if found.partial:
        click.echo(
            "partial: the index counted only the newest calls that it could look at; narrow the filters",
            err=True,
        )


def _print_lines(found: Statistics) -> None:
    said = {"partial": True} if found.partial else {}
    for group in found.groups:
        click.echo(json.dumps({**group.as_dict(found.by), **said}))
    if found.partial and not found.groups:
        click.echo(json.dumps(said))
