"""The web console's process: ``python -m llm_audit.cli.processes.console OPTIONS``, started by the supervisor.

It steps back before the data path: its priority is lower, nothing waits for it, and it ends at once when asked.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from contextlib import closing
from pathlib import Path

import orjson
import uvicorn
from starlette.types import ASGIApp

from llm_audit import __version__
from llm_audit.cli.console_port import has_tls, served_hosts
from llm_audit.cli.indexes import open_index
from llm_audit.cli.programs import ConsoleOptions
from llm_audit.cli.reading import open_objects
from llm_audit.cli.settings import Settings, load_settings
from llm_audit.console.app import create_app
from llm_audit.console.console import is_from_here
from llm_audit.console.setup import ConsoleSetup
from llm_audit.query.pipeline import PipelineFolders
from llm_audit.ship.ledger import LedgerError
from llm_audit.ship.ledger_reader import LedgerReader
from llm_audit.telemetry.published import NAME, read_published
from llm_audit.telemetry.scrape import Scrape

_NICENESS = 5
_GOODBYE_SECONDS = 2
"""For answers that are under way when it is asked to end."""


def main() -> int:
    """Serve until the supervisor says stop or is gone; give the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    os.nice(_NICENESS)
    options = ConsoleOptions(**orjson.loads(sys.argv[1]))
    settings = load_settings(os.environ)
    with socket.socket(fileno=options.listener) as listener:
        asyncio.run(_serve(settings, options, listener))
    return 0


def make_setup(settings: Settings, callers_url: str) -> ConsoleSetup:
    """Give the console its surroundings."""
    address = settings.console_address
    assert address is not None, "a console that is off is not started"
    return ConsoleSetup(
        listens_on=address.host,
        hosts=served_hosts(settings),
        is_tls=has_tls(settings),
        data_dir=settings.data_dir,
        prefix=settings.prefix,
        folders=PipelineFolders(settings.status_dir, settings.journal_dir, settings.quarantine_dir),
        open_index=lambda: open_index(settings),
        open_store=lambda: open_objects(settings),
        callers_url=callers_url,
        version=__version__,
        journal_limit_bytes=settings.journal_max_bytes,
        key_before=lambda *place: _key_before(settings.ledger_path, *place),
        is_whole=settings.index == "sqlite",
    )


def _key_before(ledger: Path, writer: str, boot: int, sequence: int) -> str | None:
    """Ask the shipper's ledger, which remembers two days."""
    try:
        with closing(LedgerReader(ledger)) as reader:
            found = reader.before(writer, boot, sequence)
    except LedgerError:
        return None
    return None if found is None else found.key


def make_mounts(settings: Settings) -> dict[str, ASGIApp]:
    """Give what is served beside the console: the metrics that the shipper publishes."""
    address = settings.console_address
    if address is None or not settings.is_scraped:
        return {}
    published = settings.status_dir / NAME
    scrape = Scrape(
        lambda: read_published(published),
        token=settings.metrics_token,
        is_local=lambda request: is_from_here(request, address.host),
    )
    return {"/metrics": scrape}


async def _serve(settings: Settings, options: ConsoleOptions, listener: socket.socket) -> None:
    with_tls = has_tls(settings)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(make_setup(settings, options.callers_url), make_mounts(settings)),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_GOODBYE_SECONDS,
            ssl_certfile=settings.tls_cert if with_tls else None,
            ssl_keyfile=settings.tls_key if with_tls else None,
        )
    )
    loop = asyncio.get_running_loop()
    lifeline = sys.stdin.fileno()

    def has_ended() -> None:
        if not os.read(lifeline, 512):
            loop.remove_reader(lifeline)
            server.should_exit = True

    loop.add_reader(lifeline, has_ended)
    await server.serve(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())
