"""The demo model server: ``python -m llm_audit.demo.server --port 8001 --pace-ms 15``.

Speaks chat, completions, responses, messages and embeddings, streamed and not. Prints
``listening on http://…`` once it takes calls; port 0 takes a free port. SIGTERM and SIGINT stop it: calls in
flight may finish for ``--grace`` seconds, a second signal cuts them.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass

import uvloop

from llm_audit.demo.connection import Connection, Service


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to listen, how fast to generate, how long to linger."""

    host: str = "127.0.0.1"
    port: int = 8001
    """0: any free port."""
    pace: float = 0.015
    """Seconds per generated token."""
    grace: float = 5.0
    """Seconds that calls in flight may take once the server is told to stop."""


class DemoServer:
    """A server that listens; made by ``start``."""

    def __init__(self, server: asyncio.Server, service: Service, settings: Settings) -> None:
        self._server = server
        self._settings = settings
        self.service = service
        host, port = server.sockets[0].getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def stop(self, *, cut: asyncio.Event | None = None) -> None:
        """Take no more calls, let those in flight finish within the grace, then cut (at once, when ``cut`` is set)."""
        self.service.stopping = True
        self._server.close()
        for connection in list(self.service.connections):
            connection.close_when_done()
        waits = {asyncio.create_task(event.wait()) for event in (self.service.empty, cut) if event}
        await asyncio.wait(waits, timeout=self._settings.grace, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        for connection in list(self.service.connections):
            connection.abort()


DEFAULTS = Settings()


async def start(settings: Settings) -> DemoServer:
    """Listen; the server runs in this event loop until ``stop``. An address that can't be had is an OSError."""
    service = Service(pace=settings.pace)
    service.empty.set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(service), settings.host, settings.port)
    return DemoServer(server, service, settings)


async def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    told, again = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (again if told.is_set() else told).set()

    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop)
    server = await start(settings)
    print(f"listening on {server.url}", flush=True)  # noqa: T201 - the line that a launcher waits for
    await told.wait()
    await server.stop(cut=again)


def main(arguments: list[str] | None = None) -> int:
    """Run the server; the exit status is 2 where it can't listen."""
    parser = argparse.ArgumentParser(
        prog="python -m llm_audit.demo.server", description="A model server for demonstrations."
    )
    parser.add_argument("--host", default=DEFAULTS.host)
    parser.add_argument(
        "--port", type=int, default=DEFAULTS.port, help="0: any free port (default %(default)s)"
    )
    parser.add_argument("--pace-ms", type=float, default=DEFAULTS.pace * 1000, help="milliseconds per token")
    parser.add_argument(
        "--grace", type=float, default=DEFAULTS.grace, help="seconds for calls in flight at the end"
    )
    given = parser.parse_args(arguments)
    if given.pace_ms < 0 or given.grace < 0 or not 0 <= given.port <= 65535:
        parser.error("--pace-ms and --grace must not be negative, --port must lie from 0 to 65535")
    settings = Settings(given.host, given.port, given.pace_ms / 1000, given.grace)
    try:
        with suppress(KeyboardInterrupt):
            uvloop.run(run(settings))
    except OSError as error:
        message = f"demo server: can't listen on {given.host}:{given.port}: {error.strerror or error}"
        print(message, file=sys.stderr)  # noqa: T201 - one line for whoever started it
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
