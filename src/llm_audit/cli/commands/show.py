"""``llm-audit show``: one call, whole: its facts, its conversation, its exact bytes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import click
from rich.table import Table
from rich.text import Text

from llm_audit.cli.facts import facts_of
from llm_audit.cli.reading import ProblemError, open_index, open_objects, problems
from llm_audit.cli.settings import READING, Settings, with_settings
from llm_audit.cli.terminal import cell, console, harmless
from llm_audit.index.index import IndexMissingError
from llm_audit.index.schema import Item
from llm_audit.query.transcript import Turn, body_bytes, transcript
from llm_audit.record.encoding import sha256_hex
from llm_audit.store.keys import object_key
from llm_audit.store.objects import ObjectMissingError, ObjectStore

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Found:
    """One object of a call: its key, its bytes, and the digest that the index has of it, if it has one."""

    key: str
    data: bytes
    indexed_sha256: str | None

    @property
    def is_as_indexed(self) -> bool:
        """False where the object is no longer what was indexed."""
        return self.indexed_sha256 in (None, sha256_hex(self.data))


@click.command(
    epilog="Example: llm-audit show 019abcde-0000-7000-8000-000000000001",
    short_help="Show one call: facts, conversation, exact bytes.",
)
@click.argument("request_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="The record as it is stored, one line for each call.")
@click.option("--raw", is_flag=True, help="The exact bodies, request first; what they are is said on stderr.")
@click.option("--part", type=click.Choice(["request", "response"]), help="With --raw: only this body.")
@with_settings(*READING)
def command(settings: Settings, request_id: str, part: str | None, *, as_json: bool, raw: bool) -> None:
    """Show the call with this request id (as x-request-id said), as a conversation.

    Two calls that used one id are both shown. Exit code 1 where there is none, or where the stored record
    is not the one that was indexed.
    """
    if part and not raw:
        raise click.UsageError("--part goes with --raw")
    if raw and as_json:
        raise click.UsageError("--raw and --json are two ways to print; give one")
    with problems():
        found = _find(settings, request_id.strip().lower())
    if not found:
        raise ProblemError(
            f"there is no call {request_id!r}; one that ended just now comes in a second or two, "
            "and `llm-audit reindex` builds the index again from the objects"
        )
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


def _find(settings: Settings, request_id: str) -> list[Found]:
    store = open_objects(settings)
    items = _indexed(settings, request_id)
    if items:
        return [
            Found(item.audit_object_key, store.get(item.audit_object_key), item.audit_object_sha256)
            for item in items
        ]
    return list(_by_time_in_id(store, settings.prefix, request_id))


def _indexed(settings: Settings, request_id: str) -> Sequence[Item]:
    try:
        index = open_index(settings)
    except IndexMissingError:
        return ()
    try:
        return index.get(request_id)
    finally:
        index.close()


def _by_time_in_id(store: ObjectStore, prefix: str, request_id: str) -> Iterator[Found]:
    """Look where a UUIDv7 says that its call began (RFC 9562, section 5.7): that day and its neighbours."""
    try:
        uuid = UUID(request_id)
    except ValueError:
        return
    if uuid.version != 7:
        return
    made_ms = uuid.int >> 80
    for day in (0, -1, 1):
        try:
            key = object_key(prefix, max(0, made_ms + day * _DAY_MS), request_id)
            yield Found(key, store.get(key), None)
        except (ValueError, OverflowError, ObjectMissingError):
            continue


def _document(found: Found) -> dict[str, Any]:
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


def _print(found: Found, document: dict[str, Any]) -> None:
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
