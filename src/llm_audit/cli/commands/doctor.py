"""``llm-audit doctor``: is this machine fit to serve, and what to do where it is not."""

from __future__ import annotations

import json

import click

from llm_audit.cli.checks import CHECKS, Finding
from llm_audit.cli.reading import ProblemError
from llm_audit.cli.settings import ALL, Settings, with_settings
from llm_audit.cli.terminal import console, harmless


@click.command(
    epilog="Example: llm-audit doctor --upstream http://127.0.0.1:8001",
    short_help="Check this machine, its settings and neighbours.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line for each finding.")
@with_settings(*ALL)
def command(settings: Settings, *, as_json: bool) -> None:
    """Check versions, clock, folders, disk, store, index, files, ports and model server.

    Changes nothing that lasts. One line each, ok or problem, with what to do. Exit code 1 on any problem.
    """
    problems = 0
    for check in CHECKS:
        for finding in check(settings):
            problems += not finding.is_ok
            _print(finding, check.__name__, as_json=as_json)
    if problems:
        raise ProblemError(f"{problems} problem{'' if problems == 1 else 's'} found")


def _print(finding: Finding, name: str, *, as_json: bool) -> None:
    if as_json:
        advice = {} if finding.is_ok or not finding.advice else {"advice": finding.advice}
        click.echo(json.dumps({"check": name, "ok": finding.is_ok, "what": finding.what, **advice}))
        return
    screen = console()
    word, style = ("ok     ", "green") if finding.is_ok else ("problem", "bold red")
    screen.print(word, style=style, end="  ")
    screen.print(harmless(finding.what, one_line=True), soft_wrap=True)
    if not finding.is_ok and finding.advice:
        screen.print(f"         → {harmless(finding.advice, one_line=True)}", soft_wrap=True)
