"""The demo's first calls: made by the real client, waited for until stored and indexed, and shown.

Runs once, as a child of ``serve --demo``; what it prints is for the person at the terminal. It never guesses how
long things take: it asks the proxy's health, then the index.
"""

from __future__ import annotations

import http.client
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import orjson

from llm_audit.cli.programs import FirstCallsOptions
from llm_audit.cli.settings import Settings, load_settings
from llm_audit.cli.tables import calls_table
from llm_audit.cli.terminal import console as terminal
from llm_audit.demo.traffic import DemoCall, NoAnswerError, first_calls
from llm_audit.index.index import IndexUnavailableError
from llm_audit.index.schema import Item
from llm_audit.index.sqlite import SqliteReader

Fact = TypeVar("Fact")

_PATIENCE = 60.0
"""Seconds for the demo server to be ready, and again for the calls to be stored; a slow machine needs two."""


def main() -> int:
    """Make the calls, wait, show; give the exit code."""
    options = FirstCallsOptions(**orjson.loads(sys.argv[1]))
    settings = load_settings(os.environ)
    try:
        _until("the proxy to be ready", lambda: _is_healthy(options.base_url))
        calls = first_calls(options.base_url)
        print(f"\nMade {len(calls)} calls through {options.base_url}:")
        for call in calls:
            print(f"  {call.status}  {call.seconds:6.3f} s  {call.what}")
        if settings.index == "sqlite":
            _show(
                settings,
                _until("the calls to be stored and indexed", lambda: _items(settings.index_path, calls)),
            )
    except (NoAnswerError, TimeoutError) as error:
        print(f"The first calls failed: {error}", file=sys.stderr)
        return 1
    _show_next(settings, options, calls)
    return 0


def _until(what: str, fact: Callable[[], Fact | None]) -> Fact:
    """Wait for a fact; raises TimeoutError."""
    deadline = time.monotonic() + _PATIENCE
    while (value := fact()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"waited {_PATIENCE:.0f} s for {what}; what the processes say above tells more"
            )
        time.sleep(0.02)
    return value


def _is_healthy(base_url: str) -> bool | None:
    """Give True once ``/health`` says that proxy, journal and model server are ready; None before."""
    parts = urlsplit(base_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=5)
    try:
        connection.request("GET", "/health")
        return True if connection.getresponse().status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _items(path: Path, calls: Sequence[DemoCall]) -> list[Item] | None:
    """Give the calls' items, or None until every one is in the index."""
    if not path.exists():
        return None
    try:
        reader = SqliteReader(path)
        try:
            found = [reader.get(call.request_id) for call in calls]
        finally:
            reader.close()
    except IndexUnavailableError:
        return None
    return [items[0] for items in found] if all(found) else None


def _show(settings: Settings, items: Sequence[Item]) -> None:
    print("\nEach is one JSON document now, such as")
    print(f"  {settings.objects_dir or settings.bucket}/{items[0].audit_object_key}")
    print(f"and one item in the index, {settings.index_path}:\n", flush=True)
    console = terminal()
    console.print(calls_table(items, console.width))


def _show_next(settings: Settings, options: FirstCallsOptions, calls: Sequence[DemoCall]) -> None:
    where = "" if settings.data_dir == Path("data").absolute() else f" --data-dir {settings.data_dir}"
    lines = (
        "\nThe next call is yours:",
        f"  curl {options.base_url}/v1/chat/completions -H 'content-type: application/json' \\",
        "    -H 'x-llm-source: my-app' -H 'x-llm-user: me' -H 'x-llm-request-type: chat' \\",
        """    -d '{"model": "demo", "messages": [{"role": "user", "content": "What is the capital of France?"}]}'""",
        "\nand these find it (in another terminal):",
        f"  {_program()} query --user me{where}",
        f"  {_program()} show {calls[0].request_id}{where}",
        f"  {_program()} stats{where}",
        *_to_look_at(options.console_url, where),
        "\nServing until Ctrl-C.",
    )
    print("\n".join(lines), flush=True)


def _to_look_at(console_url: str | None, where: str) -> tuple[str, ...]:
    if console_url is None:
        return ()
    return (
        f"\nTo look rather than type: {console_url}",
        "what was asked and answered needs a login there:",
        f"  {_program()} console users add me --role admin{where}",
    )


def _program() -> str:
    """Give the command as it can be typed here: the virtual environment of ``make demo`` is not on PATH."""
    program = Path(sys.executable).with_name("llm-audit")
    if not program.exists():
        return "llm-audit"
    return str(program.relative_to(Path.cwd())) if program.is_relative_to(Path.cwd()) else str(program)


if __name__ == "__main__":
    sys.exit(main())
