"""``llm-audit show``: one call, whole: its facts, its conversation, its exact bytes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from llm_audit.cli.facts import facts_of
from llm_audit.cli.indexes import open_index
from llm_audit.cli.reading import ProblemError, open_objects, problems, record_reading
from llm_audit.cli.settings import READING, Settings, with_settings
from llm_audit.cli.terminal import cell, console, harmless
from llm_audit.index.index import IndexMissingError, IndexReader
from llm_audit.index.schema import stem_of
from llm_audit.query.filters import parse_time
from llm_audit.query.lookup import FoundCall, find_calls
from llm_audit.query.transcript import Turn, body_bytes, transcript
from llm_audit.record.encoding import sha256_hex
from llm_audit.record.times import ms_from_iso


@click.command(
    epilog="Example: llm-audit show 019abcde-0000-7000-8000-000000000001",
    short_help="Show one call: facts, conversation, exact bytes.",
)
@click.argument("request_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="The record as it is stored, one line for each call.")
@click.option("--raw", is_flag=True, help="The exact bodies, request first; what they are is said on stderr.")
@click.option("--part", type=click.Choice(["request", "response"]), help="With --raw: only this body.")
@click.option(
    "--since",
    metavar="SINCE",
    default="90d",
    show_default=True,
    help="How far back an id that the index does not have is looked for, day by day.",
)
@with_settings(*READING)
def command(
    settings: Settings, request_id: str, part: str | None, since: str, *, as_json: bool, raw: bool
) -> None:
    """Show the call with this request id (as x-request-id said), as a conversation.

    That it was shown is recorded first, in the access log of the data dir, where there is one: see docs/console.md.

    Two calls that used one id are both shown. What the index does not find (DynamoDB knows no ids) is found by its
    object's name: on the day that a UUIDv7 names, or else day by day. Exit code 1 where there is none, or where
    the stored record is not the one that was indexed.
    """
    if part and not raw:
        raise click.UsageError("--part goes with --raw")
    if raw and as_json:
        raise click.UsageError("--raw and --json are two ways to print; give one")
    with problems():
        found = find(settings, request_id.strip().lower(), since)
    if not found:
        raise ProblemError(
            f"there is no call {request_id!r} since {since}; one that ended just now comes in a second or two, --since "
            "looks further back, and `llm-audit reindex` builds the index again from the objects"
        )
    form = "json" if as_json else "raw" if raw else "conversation"
    for one in found:
        record_reading(settings, "content.show", stem_of(one.key), {"key": one.key, "form": form})
    for one in found:
        if as_json:
            click.echo(one.data.decode("utf-8", "backslashreplace"))
        elif raw:
            _print_raw(_document(one), [part] if part else ["request", "response"])
        else:
            _print(one, _document(one))
    changed = [one.key for one in found if not one.is_as_indexed]
    if changed:
        raise ProblemError(f"the stored record is not the one that was indexed: {', '.join(changed)}")


def find(settings: Settings, request_id: str, since: str) -> list[FoundCall]:
    """Find the calls of an id; ``receipt`` does so too. Raises what ``find_calls``, ``open_index`` and ``parse_time`` do."""
    now_ms = time.time_ns() // 1_000_000
    since_ms = ms_from_iso(parse_time(since, now_ms))
    store = open_objects(settings)
    try:
        index: IndexReader | None = open_index(settings)
    except IndexMissingError:
        index = None
    try:
        return find_calls(index, store, settings.prefix, request_id, since_ms, now_ms)
    finally:
        if index:
            index.close()


def _document(found: FoundCall) -> dict[str, Any]:
    try:
        document = json.loads(found.data)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ProblemError(f"{found.key} is no record: it is no JSON object")
    return document


def _print_raw(document: dict[str, Any], parts: Sequence[str]) -> None:
    for name in parts:
        part = document.get(name)
        body = body_bytes(part)
        if not isinstance(part, dict) or body is None:
            click.echo(f"{name}: no body is kept", err=True)
            continue
        verdict = "matches" if part.get("sha256") == sha256_hex(body) else "DOES NOT MATCH"
        click.echo(f"{name}: {len(body)} bytes, sha256 {verdict} the record", err=True)
        sys.stdout.flush()
        if sys.stdout.isatty():
            click.echo(harmless(body.decode("utf-8", "backslashreplace")))
        else:
            sys.stdout.buffer.write(body)
            sys.stdout.buffer.flush()


def _print(found: FoundCall, document: dict[str, Any]) -> None:
    screen = console()
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in facts_of(document):
        facts.add_row(cell(name), cell(value))
    facts.add_row(cell("object"), cell(found.key))
    verdicts = {None: "not indexed", True: "as indexed", False: "NOT AS INDEXED"}
    verdict = verdicts[None if found.indexed_sha256 is None else found.is_as_indexed]
    facts.add_row(cell("sha256"), cell(f"{verdict} · {sha256_hex(found.data)}"))
    screen.print(facts)
    said = transcript(document)
    for heading, turns in (("asked", said.asked), ("answered", said.answered)):
        screen.print(Text(f"\n── {heading} " + "─" * 40, style="bold"))
        for turn in turns or (Turn("nothing is kept", ""),):
            screen.print(Text(harmless(turn.role, one_line=True), style="bold cyan"), soft_wrap=True)
            screen.print(Text(harmless(turn.text)), soft_wrap=True)
