"""``llm-audit keys``: make, list and disable the API keys that callers send as ``x-api-key``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from llm_audit.cli.settings import Settings, refuse, with_settings
from llm_audit.proxy.keys import (
    Key,
    KeyFileError,
    KeySet,
    check_key_id,
    check_source,
    digest_of,
    new_key,
    read_keys,
    sole_editor,
    write_keys,
)
from llm_audit.proxy.usage_plan import NO_LIMITS, Limits
from llm_audit.record.times import iso_from_ms

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")


@click.group(
    epilog="""\b
Example:
  export AUDIT_API_KEYS=./keys.json
  llm-audit keys add finance --source finance-app --rate 10 --burst 20 --quota 100000
  llm-audit keys list
  llm-audit keys disable finance"""
)
def command() -> None:
    """Make, list and disable the API keys that callers send as x-api-key.

    Running proxies read the file again within a second. It holds SHA-256 digests only.
    """


@command.command(
    epilog="""\b
Example:
  KEY=$(llm-audit keys add finance --source finance-app --rate 10 --burst 20 --quota 100000)"""
)
@click.argument("name")
@click.option(
    "--source", "sources", multiple=True, help="An x-llm-source it may speak for (repeat); default any."
)
@click.option("--rate", type=float, help="Calls a second, in the long run; default no limit.")
@click.option("--burst", type=int, help="Calls at once, after a pause; default one second's calls.")
@click.option("--quota", type=int, help="Calls a UTC day; default no limit.")
@click.option(
    "--gateway",
    is_flag=True,
    help="NAME is a key id of API Gateway: no key is made, its sources are bound. Its limits are the gateway's.",
)
@json_option
@with_settings("api_keys")
def add(
    *,
    name: str,
    sources: tuple[str, ...],
    rate: float | None,
    burst: int | None,
    quota: int | None,
    gateway: bool,
    as_json: bool,
    settings: Settings,
) -> None:
    """Make a key called NAME and print it, this once; only its digest is kept."""
    limits = _limits(rate, burst, quota, gateway=gateway)
    secret = None if gateway else new_key()
    try:
        key = Key(
            id=check_key_id(name),
            sha256=None if secret is None else digest_of(secret),
            sources=frozenset(map(check_source, sources)) or None,
            limits=limits,
            enabled=True,
            created=iso_from_ms(time.time_ns() // 1_000_000),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    path = _key_file(settings)
    with _editing(path) as keys:
        if keys.get(name) is not None:
            raise click.ClickException(f"{path} has a key {name!r} already: choose another name")
        write_keys(path, KeySet((*keys.keys, key)))
    if as_json:
        click.echo(json.dumps({**_document(key), "key": secret, "file": str(path)}))
        return
    click.echo(f"{name} is in {path}: {_words(key)}.", err=True)
    if secret is not None:
        click.echo("The key, shown this once; callers send it as x-api-key:", err=True)
        click.echo(secret)


@command.command("list", epilog="\b\nExample:\n  llm-audit keys list --json")
@json_option
@with_settings("api_keys")
def list_keys(*, as_json: bool, settings: Settings) -> None:
    """List all keys and what they may do."""
    path = _key_file(settings)
    with _told():
        keys = read_keys(path).keys
    if as_json:
        for key in keys:
            click.echo(json.dumps(_document(key)))
        return
    table = Table(box=None)
    for title in ("key", "kind", "sources", "rate", "burst", "quota", "enabled", "created"):
        table.add_column(title, overflow="fold")
    for key in keys:
        document = _document(key)
        cells = (document["rate"], document["burst"], document["dailyQuota"])
        numbers = ["-" if number is None else f"{number:,g}" for number in cells]
        table.add_row(
            key.id,
            document["kind"],
            _sources(key),
            *numbers,
            "yes" if key.enabled else "no",
            key.created[:10],
        )
    console = Console()
    console.print(table, width=None if console.is_terminal else 200)  # a pipe has no edge to fold at


@command.command(epilog="\b\nExample:\n  llm-audit keys disable finance")
@click.argument("name")
@json_option
@with_settings("api_keys")
def disable(*, name: str, as_json: bool, settings: Settings) -> None:
    """Disable the key called NAME: calls with it get 403 within a second."""
    path = _key_file(settings)
    with _told():
        read_keys(path)  # a file that is missing is not made by disabling
    with _editing(path) as keys:
        key = keys.get(name)
        if key is None:
            raise click.ClickException(f"{path} has no key {name!r}: see `llm-audit keys list`")
        disabled = replace(key, enabled=False)
        write_keys(path, KeySet(tuple(disabled if other is key else other for other in keys.keys)))
    click.echo(json.dumps(_document(disabled)) if as_json else f"{name} is disabled in {path}.")


def _limits(rate: float | None, burst: int | None, quota: int | None, *, gateway: bool) -> Limits:
    if gateway:
        if (rate, burst, quota) != (None, None, None):
            raise click.UsageError("--rate, --burst and --quota of a gateway's key are set in its usage plan")
        return NO_LIMITS
    try:
        return Limits.of(rate, burst, quota)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _key_file(settings: Settings) -> Path:
    if settings.api_keys is None:
        refuse("api_keys", "", "the path of the key file to work on")
    return settings.api_keys


@contextmanager
def _editing(path: Path) -> Iterator[KeySet]:
    """Give the keys of a file, none where it does not exist yet, while no other editor can write it."""
    with _told(), sole_editor(path):
        yield read_keys(path) if path.exists() else KeySet()


@contextmanager
def _told() -> Iterator[None]:
    """Turn what can go wrong with the file into one clear line, exit code 1."""
    try:
        yield
    except KeyFileError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"the key file can't be written: {error}") from None


def _document(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "kind": "gateway" if key.sha256 is None else "key",
        "sources": None if key.sources is None else sorted(key.sources),
        "rate": key.limits.rate,
        "burst": key.limits.burst,
        "dailyQuota": key.limits.daily_quota,
        "enabled": key.enabled,
        "created": key.created,
    }


def _sources(key: Key) -> str:
    return "any" if key.sources is None else ", ".join(sorted(key.sources))


def _words(key: Key) -> str:
    limits = key.limits
    parts = [f"it may speak for {_sources(key)}" + (" source" if key.sources is None else "")]
    if limits.rate is not None:
        parts.append(f"{limits.rate:g} calls a second and {limits.burst:,} at once")
    if limits.daily_quota is not None:
        parts.append(f"{limits.daily_quota:,} calls a UTC day")
    return ", ".join(parts)
