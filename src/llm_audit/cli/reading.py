"""What the reading commands share: index and store from the settings, filters from flags, errors as exit codes."""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import click

from llm_audit.cli.indexes import open_index
from llm_audit.cli.settings import Settings
from llm_audit.index.index import IndexReader, IndexUnavailableError
from llm_audit.index.schema import Item, attributes
from llm_audit.index.selection import InvalidCursorError
from llm_audit.integrity.access_log_file import AccessLog, AccessLogError
from llm_audit.query.filters import FILTER_NAMES, Filter, FilterError, make_filter
from llm_audit.record.times import iso_from_ms
from llm_audit.store.objects import ObjectStore, StoreError, StoreSettingsError
from llm_audit.store.opening import open_store


class ProblemError(click.ClickException):
    """The command could not do its work; exit code 1."""

    exit_code = 1


@contextmanager
def reading(settings: Settings) -> Iterator[IndexReader]:
    """Open the index that the settings name, and turn what goes wrong into exit codes."""
    with problems():
        index = open_index(settings)
        try:
            yield index
        finally:
            index.close()


def open_objects(settings: Settings) -> ObjectStore:
    """Open the store that the settings name; raises StoreSettingsError."""
    return open_store(settings.bucket, region=settings.aws_region, endpoint_url=settings.aws_endpoint_url)


def os_actor() -> str:
    """Give who runs this, as the access log names people of the machine."""
    try:
        return f"os:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user may have no name
        return f"os:uid {os.getuid()}"


def record_reading(settings: Settings, action: str, subject: str, details: dict[str, Any]) -> None:
    """Write into the access log that somebody at this machine is about to read content, before it is printed.

    Where there is no data dir, this machine only looks at another's records, and has no log. Raises ProblemError: what
    cannot be recorded is not to be shown.
    """
    if not settings.data_dir.is_dir():
        return
    at = iso_from_ms(time.time_ns() // 1_000_000)
    try:
        AccessLog(settings.data_dir / "access").append(at, os_actor(), action, subject, details)
    except AccessLogError as error:
        raise ProblemError(f"{error}; nothing is shown that is not on record") from None


@contextmanager
def problems() -> Iterator[None]:
    """Turn errors of index, store and filters into one clear line: exit 2 for wrong usage, 1 for the rest."""
    try:
        yield
    except (FilterError, InvalidCursorError, StoreSettingsError) as error:
        raise click.UsageError(str(error)) from None
    except (IndexUnavailableError, StoreError) as error:
        raise ProblemError(str(error)) from None


_HELP = {
    "source": "Calls of one source; - for refusals that stated none.",
    "user": "Calls of one user; - for refusals that stated none.",
    "status": "Calls whose client was sent this status; none for those it was sent nothing.",
    "request-type": "Calls of one request type.",
    "outcome": "complete, client_disconnected, upstream_error, upstream_timeout, rejected or interrupted.",
    "model": "Calls of one model, by its exact name.",
    "min-latency-ms": "Calls that took so many milliseconds or longer.",
    "text": "Calls with this text in the preview of prompt or reply.",
    "since": "Calls that began at this time or later: 2026-11-24T10:00 (UTC), or so long ago: 30m, 2h, 7d.",
    "until": "Calls that began before this time.",
}


def with_filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command: adds a flag for each filter, passes ``filters`` (a list of ``Filter``)."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        now_ms = time.time_ns() // 1_000_000
        given = {name: kwargs.pop(name.replace("-", "_")) for name in FILTER_NAMES}
        with problems():
            filters: list[Filter] = [
                make_filter(name, value, now_ms) for name, value in given.items() if value is not None
            ]
        return function(*args, filters=filters, **kwargs)

    wrapped: Callable[..., Any] = run
    for name in reversed(FILTER_NAMES):
        wrapped = click.option(f"--{name}", metavar=name.rpartition("-")[2].upper(), help=_HELP[name])(
            wrapped
        )
    return wrapped


def item_json(item: Item) -> str:
    """Give an item as a JSON line with the contract's names; ASCII only, so that any terminal is safe."""
    return json.dumps({name: value for name, value in attributes(item).items() if value is not None})
