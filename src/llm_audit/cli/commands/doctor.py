"""``llm-audit doctor``: is this machine, or the system on AWS, fit to serve, and what to do where it is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Protocol

import click

from llm_audit.cli.aws_doctor import AwsOptions, aws_findings
from llm_audit.cli.aws_screen import told
from llm_audit.cli.checks import CHECKS
from llm_audit.cli.reading import ProblemError
from llm_audit.cli.settings import ALL, Settings, with_settings
from llm_audit.cli.terminal import console, harmless


class Found(Protocol):
    """A line of the report; ``is_ok`` is None where nothing could be said."""

    @property
    def is_ok(self) -> bool | None:
        """Whether all is well."""

    @property
    def what(self) -> str:
        """What was found."""

    @property
    def advice(self) -> str:
        """What to do about it."""


@click.command(
    epilog="""\b
Example:
  llm-audit doctor --upstream http://127.0.0.1:8001
  llm-audit doctor --aws --stack central-llm-audit
  llm-audit doctor --aws --bucket s3://central-llm-audit --api-url https://ID.execute-api.REGION.amazonaws.com/prod""",
    short_help="Check this machine and its neighbours, or the system on AWS.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON line for each finding.")
@click.option("--aws", "is_aws", is_flag=True, help="Check the system on AWS, by a call through its gateway.")
@click.option("--stack", metavar="NAME", help="With --aws: the stack whose outputs name the parts below.")
@click.option("--api-url", metavar="URL", help="With --aws: the gateway's address with its stage.")
@click.option(
    "--api-key",
    metavar="KEY",
    envvar="LLM_AUDIT_API_KEY",
    help="With --aws: a caller's key; better in LLM_AUDIT_API_KEY. Default: the stack's first key.",
)
@click.option("--table", metavar="NAME", help="With --aws: the table. Default: CentralLLMAudit.")
@click.option("--function", metavar="NAME", help="With --aws: the Lambda. Default: llm-audit-ingest.")
@click.option("--dead-letters", metavar="QUEUE", help="With --aws: name or URL. Default: llm-audit-dlq.")
@click.option(
    "--wait",
    metavar="SECONDS",
    type=click.FloatRange(1, 3600),
    default=120.0,
    show_default=True,
    help="With --aws: how long record and item are waited for.",
)
@with_settings(*ALL)
def command(
    settings: Settings,
    *,
    as_json: bool,
    is_aws: bool,
    stack: str | None,
    api_url: str | None,
    api_key: str | None,
    table: str | None,
    function: str | None,
    dead_letters: str | None,
    wait: float,
) -> None:
    """Check versions, clock, folders, disk, store, index, files, ports and model server.

    With --aws instead: the stack, bucket, table, notification, Lambda, permissions, dead letters, alarms, and that the
    gateway refuses whom it must; then one call is made through it and followed to its record, its item and the three
    indexes. That call stays on record, as source llm-audit-doctor. Otherwise nothing that lasts is changed.

    One line each, ok or problem, with what to do. Exit code 1 on any problem.
    """
    options = AwsOptions(stack, api_url, api_key, table, function, dead_letters, wait)
    given = (stack, api_url, table, function, dead_letters)
    if not is_aws and any(one is not None for one in given):
        raise click.UsageError("--stack, --api-url, --table, --function and --dead-letters go with --aws")
    problems = 0
    with told() if is_aws else nullcontext():
        for name, finding in _on_aws(settings, options) if is_aws else _on_this_machine(settings):
            problems += finding.is_ok is False
            _print(finding, name, as_json=as_json)
    if problems:
        raise ProblemError(f"{problems} problem{'' if problems == 1 else 's'} found")


def _on_this_machine(settings: Settings) -> Iterator[tuple[str, Found]]:
    for check in CHECKS:
        for finding in check(settings):
            yield check.__name__, finding


def _on_aws(settings: Settings, options: AwsOptions) -> Iterator[tuple[str, Found]]:
    with console(stderr=True).status("asking AWS") as status:
        yield from aws_findings(settings, options, lambda text: status.update(harmless(text)))


def _print(finding: Found, name: str, *, as_json: bool) -> None:
    if as_json:
        advice = {} if finding.is_ok or not finding.advice else {"advice": finding.advice}
        click.echo(json.dumps({"check": name, "ok": finding.is_ok, "what": finding.what, **advice}))
        return
    screen = console()
    word, style = {True: ("ok     ", "green"), False: ("problem", "bold red"), None: ("unknown", "yellow")}[
        finding.is_ok
    ]
    screen.print(word, style=style, end="  ")
    screen.print(harmless(finding.what, one_line=True), soft_wrap=True)
    if not finding.is_ok and finding.advice:
        screen.print(f"         → {harmless(finding.advice, one_line=True)}", soft_wrap=True)
