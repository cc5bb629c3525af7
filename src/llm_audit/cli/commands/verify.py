"""``llm-audit verify``: every record held against its writer's signed digests."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from llm_audit.cli.reading import ProblemError, problems
from llm_audit.cli.settings import Settings, with_settings
from llm_audit.cli.terminal import console, harmless, shown_bytes, shown_count
from llm_audit.cli.verifying.reading import DigestReader, Place, spare_the_collector
from llm_audit.cli.verifying.verification import Figures, Pin, Scope, Verification
from llm_audit.integrity.findings import Finding
from llm_audit.integrity.signatures import PublicKey
from llm_audit.ship.key_files import KeyFileError, public_keys
from llm_audit.store.opening import open_store

_PIN = re.compile(r"(w-[0-9a-f]{8}):(\d{1,12}):([0-9a-f]{64})", re.ASCII)


@click.command(
    epilog="""\b
Example:
  llm-audit verify --bucket s3://central-llm-audit --key auditor/digest-key.pem
  llm-audit verify --json | tail -1""",
    short_help="Check every record against the signed digests.",
)
@click.option(
    "--key",
    "key_paths",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="FILE",
    help="A public key (PEM), or a folder of them (repeat). Default: those that this data dir keeps.",
)
@click.option(
    "--pin",
    "pins",
    multiple=True,
    metavar="WRITER:NUMBER:SHA256",
    help="A digest that was noted outside, as this command prints them: it must be there (repeat).",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Processes that read. Default: one for each core.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON line for each finding, and one with the figures."
)
@with_settings("bucket", "prefix", "aws_region", "aws_endpoint_url", "data_dir")
def command(
    settings: Settings, key_paths: tuple[Path, ...], pins: tuple[str, ...], jobs: int | None, *, as_json: bool
) -> None:
    """Check all records in the store against the digests beside them: from these and the public keys alone.

    Finds what was modified, truncated, removed, added, doubled or put in another's place; digests that are missing, changed,
    replayed, forked, or signed by a key that is not known; and names the object, and the records affected. What was
    stored since the last digest is counted and not proven yet. The last lines are what to keep outside, for --pin: without a pin,
    nobody can tell that the newest digests were removed with their records. docs/evidence.md says what is proven, and against whom.
    Exit code 1 where something is found.
    """
    spare_the_collector()
    keys = _keys(settings, key_paths)
    scope = Scope(settings.prefix, tuple(map(_pin, pins)), jobs or os.cpu_count() or 1)
    place = Place(
        settings.bucket, settings.aws_region, settings.aws_endpoint_url, tuple(key.pem for key in keys)
    )
    with problems():
        store = open_store(
            settings.bucket, region=settings.aws_region, endpoint_url=settings.aws_endpoint_url
        )
        reader = DigestReader.open(place)
        columns = (SpinnerColumn(), TextColumn("{task.completed} {task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=console(stderr=True), transient=True) as progress:
            task = progress.add_task("records verified", total=None)
            verification = Verification(
                store,
                reader,
                place,
                scope,
                on_finding=lambda finding: _say(finding, as_json=as_json),
                on_progress=lambda doing, count: progress.update(task, description=doing, completed=count),
            )
            try:
                figures = verification.run()
            except OSError as error:
                raise ProblemError(str(error)) from None
            finally:
                reader.close()
    _say_end(figures, verification, keys, as_json=as_json)
    if figures.findings:
        raise ProblemError(f"{shown_count(figures.findings)} findings")


def _keys(settings: Settings, paths: tuple[Path, ...]) -> list[PublicKey]:
    try:
        own = [folder for folder in [settings.digest_public_dir] if folder.is_dir()]
        keys = public_keys(list(paths) or own)
    except KeyFileError as error:
        raise ProblemError(str(error)) from None
    if not keys:
        raise click.UsageError("there is no public key here to check with: give --key")
    return keys


def _pin(text: str) -> Pin:
    match = _PIN.fullmatch(text)
    if match is None:
        raise click.UsageError(
            f"--pin: got {text!r}, expected WRITER:NUMBER:SHA256 as this command prints it"
        )
    return Pin(match[1], int(match[2]), match[3])


def _say(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(finding.as_dict()))
        return
    words = finding.affected.words()
    text = f"{finding.subject}  {finding.detail}" + (f"  [{words}]" if words else "")
    click.echo(f"{finding.kind:16} {harmless(text, one_line=True)}")


def _say_end(figures: Figures, verification: Verification, keys: list[PublicKey], *, as_json: bool) -> None:
    heads = [
        f"{writer}:{chain.head[0]}:{chain.head[1]}" for writer, chain in sorted(verification.chains.items())
    ]
    if as_json:
        ended = {"keys": [key.id for key in keys], "heads": heads}
        click.echo(json.dumps({"figures": figures.as_dict(), **ended}))
        return
    counts = (
        (figures.listed, "records listed"),
        (figures.intact, "intact"),
        (figures.digests, "digests"),
        (figures.writers, "writers"),
        (figures.findings, "findings"),
    )
    click.echo(" · ".join(f"{shown_count(count)} {words}" for count, words in counts))
    beside = (
        (figures.not_listed_yet, "stored since the last digest, and not proven yet"),
        (figures.not_stored_yet, "counted by a digest, and not stored when it was made"),
        (figures.listed_again, "listed again, with the same contents"),
        (figures.before_digests, "from before their writer's first digest: nothing speaks for them"),
    )
    for count, words in beside:
        if count:
            click.echo(f"{shown_count(count)} {words}")
    click.echo(f"{shown_bytes(figures.bytes_read)} read; keys: {', '.join(key.id[:16] for key in keys)}")
    for head in heads:
        click.echo(f"last digest, to be kept outside: {head}")
