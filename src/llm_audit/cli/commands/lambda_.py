"""``llm-audit lambda``: the ingestion function's zip, and what to do with events that it gave up on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llm_audit.cli.lambda_bundle import archive, bundle, code_sha256
from llm_audit.cli.reading import ProblemError
from llm_audit.cli.settings import Settings, with_settings
from llm_audit.cli.terminal import harmless

if TYPE_CHECKING:
    from llm_audit.cli.redrive import Redriven


@click.group(
    epilog="""\b
Example:
  llm-audit lambda build
  llm-audit lambda redrive --queue llm-audit-dlq --dry-run"""
)
def command() -> None:
    """Build the ingestion Lambda; give it its dead letters again."""


@command.command(epilog="Example: llm-audit lambda build --output infra/lambda/llm-audit-ingest/dist.zip")
@click.option(
    "--output",
    default=Path("llm-audit-ingest.zip"),
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.",
)
def build(output: Path) -> None:
    """Write the function's zip: one file, handler.py, for --handler handler.lambda_handler.

    It is pure Python and uses what the runtime python3.12 (or newer) brings, so one zip serves x86_64 and arm64. The
    same version of llm-audit gives the same bytes on every machine. Prints Lambda's CodeSha256 of it, to compare with
    what is deployed.
    """
    data = archive(bundle())
    try:
        output.write_bytes(data)
    except OSError as error:
        raise ProblemError(f"{output} could not be written ({error.strerror})") from None
    click.echo(
        f"{output}: {len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()}, CodeSha256 {code_sha256(data)}"
    )


@command.command(
    epilog="""\b
Example:
  llm-audit lambda redrive --dry-run     # what lies there, and why
  llm-audit lambda redrive               # once the reason is mended"""
)
@click.option(
    "--queue", default="llm-audit-dlq", show_default=True, help="The dead-letter queue: name, ARN or URL."
)
@click.option("--function", default="llm-audit-ingest", show_default=True, help="The function: name or ARN.")
@click.option("--dry-run", is_flag=True, help="Only show what lies there; everything stays.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
@with_settings("aws_region", "aws_endpoint_url")
def redrive(settings: Settings, *, queue: str, function: str, dry_run: bool, as_json: bool) -> None:
    """Give the function every event that it gave up on once more, and delete each that it now ingests.

    Of a function that S3 invokes as well as of one behind a queue; nothing is written twice. What fails again stays
    in the queue; exit code 1 then, with the reason of each. Needs sqs:GetQueueUrl, sqs:ReceiveMessage,
    sqs:DeleteMessage, sqs:ChangeMessageVisibility on the queue and lambda:InvokeFunction on the function.
    """
    from llm_audit.cli.redrive import RedriveError, redriving  # noqa: PLC0415 - boto3 comes with the extra `aws`

    done: list[Redriven] = []
    try:
        with redriving(
            settings.aws_region, settings.aws_endpoint_url, queue, function, is_dry=dry_run
        ) as letters:
            for letter in letters:
                done.append(letter)
                _show(letter, dry_run=dry_run, as_json=as_json)
    except RedriveError as error:
        raise ProblemError(str(error)) from None
    failed = 0 if dry_run else sum(letter.problem is not None for letter in done)
    if not as_json:
        click.echo(f"{len(done)} messages in {queue}" if dry_run else f"{len(done) - failed} ingested")
    if failed:
        raise ProblemError(
            f"{failed} messages stay in {queue}: mend the reason and redrive again, it changes nothing twice"
        )


def _show(letter: Redriven, *, dry_run: bool, as_json: bool) -> None:
    """Print what became of one message."""
    if as_json:
        said = {"messageId": letter.message_id, "objects": letter.objects, "problem": letter.problem}
        click.echo(json.dumps({**said, **letter.counts}))
        return
    word = "dead letter" if dry_run else "ingested" if letter.problem is None else "failed again"
    named = ", ".join(letter.objects) or f"message {letter.message_id}"
    reason = f" ({letter.problem})" if letter.problem else ""
    click.echo(harmless(f"{word}: {named}{reason}", one_line=True))
