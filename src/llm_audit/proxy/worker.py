"""One proxy process: opens its journal, serves the shared listening socket, drains, exits.

``run`` returns the exit code. SIGTERM drains; so does the end of the pipe that the supervisor holds. A
second SIGTERM ends what is still in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import ssl
import sys

import uvloop

from llm_audit.journal.model import JournalFailedError, JournalFullError, JournalLockedError
from llm_audit.journal.writer import JournalWriter
from llm_audit.proxy.config import ProxyConfig
from llm_audit.proxy.gate import Gate
from llm_audit.proxy.health import upstream_is_healthy
from llm_audit.proxy.keys import KeyRing
from llm_audit.proxy.paths import PathTable
from llm_audit.proxy.server import ServerProtocol
from llm_audit.proxy.service import Service
from llm_audit.proxy.upstream import UpstreamPool
from llm_audit.proxy.usage_plan import UsagePlan

TICK = 1.0
"""Seconds between two looks at the limits."""

REOPEN_PAUSE = 1.0
"""Seconds between two tries to open the journal again after it failed."""


def run(config: ProxyConfig, listener: socket.socket, parent_pipe_fd: int) -> int:
    """Serve until SIGTERM or the supervisor's end; answers the exit code."""
    _raise_file_limit()
    # Nothing that lives now is garbage later, and a call leaves no cycles: look for them rarely (2% of a call's CPU).
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Worker(config, listener, parent_pipe_fd).serve())


def _raise_file_limit() -> None:
    """Allow as many connections as the system does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Worker:
    """The shell around a ``Service``: sockets, signals, files."""

    def __init__(self, config: ProxyConfig, listener: socket.socket, parent_pipe_fd: int) -> None:
        self._config = config
        self._listener = listener
        self._pipe = parent_pipe_fd
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._reopening: asyncio.Task[None] | None = None

    async def serve(self) -> int:
        """Run from the opened journal to the last exchange."""
        loop = asyncio.get_running_loop()
        config = self._config
        upstream_tls = ssl.create_default_context() if config.upstream_tls else None
        pool = UpstreamPool(loop, config.upstream_host, config.upstream_port, upstream_tls, config.authority)
        gate = _gate(config)
        service = self._service = Service(loop, config, gate, pool)
        await self._open_journal(loop)
        self._watch(loop)
        server = await loop.create_server(
            lambda: ServerProtocol(service), sock=self._listener, ssl=self._client_tls(), backlog=4096
        )
        beside = [loop.create_task(self._tick()), loop.create_task(self._probe(upstream_tls))]
        await self._stop.wait()
        server.close()
        await self._drain(service)
        for task in (*beside, *([self._reopening] if self._reopening else [])):
            task.cancel()
        pool.close()
        if service.writer is not None:
            service.writer.close()
        return 0

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, self._signalled)
        if self._pipe >= 0:
            loop.add_reader(self._pipe, self._pipe_readable, loop)

    def _signalled(self) -> None:
        """Drain; told again, end what is in flight now."""
        (self._hurry if self._stop.is_set() else self._stop).set()

    def _pipe_readable(self, loop: asyncio.AbstractEventLoop) -> None:
        if not os.read(self._pipe, 64):
            loop.remove_reader(self._pipe)
            self._stop.set()

    def _client_tls(self) -> ssl.SSLContext | None:
        if self._config.tls_cert is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._config.tls_cert, self._config.tls_key)
        context.set_alpn_protocols(["http/1.1"])
        return context

    # --- the journal -------------------------------------------------------------------------------------

    async def _open_journal(self, loop: asyncio.AbstractEventLoop) -> None:
        """Open the first boot. On a full or failing disk serve without one, so that calls are told, until it opens."""
        try:
            self._service.use_writer(await loop.run_in_executor(None, self._open_writer, loop))
        except (JournalFullError, JournalFailedError) as error:
            _say(f"{error}; {self._meanwhile()} until it can be written")
            self._reopening = loop.create_task(self._reopen())

    def _open_writer(self, loop: asyncio.AbstractEventLoop) -> JournalWriter:
        config = self._config
        return JournalWriter.open(
            config.writer_dir,
            settings=config.record,
            durability=config.durability,
            limit_bytes=config.journal_limit_bytes,
            loop=loop,
            on_failure=self._journal_failed,
        )

    def _journal_failed(self, error: Exception) -> None:
        _say(
            f"the journal in {self._config.writer_dir} failed: {error}; {self._meanwhile()} until it can be written"
        )
        failed = self._service.writer
        self._service.journal_failed(error)
        if failed is not None:
            failed.close()
        if self._reopening is None or self._reopening.done():
            self._reopening = asyncio.get_running_loop().create_task(self._reopen())

    def _meanwhile(self) -> str:
        return (
            "calls go through unrecorded and are counted" if self._config.pass_when_full else "calls get 503"
        )

    async def _reopen(self) -> None:
        """Open a new boot as soon as a probe write and sync succeed."""
        loop = asyncio.get_running_loop()
        said = 0
        while not self._stop.is_set():
            try:
                writer = await loop.run_in_executor(None, self._open_writer, loop)
            except (JournalFullError, JournalFailedError, JournalLockedError, OSError):
                passed = self._service.passed
                if passed > said:  # the disk that would keep their count fails: so it is said here too
                    said = passed
                    _say(f"{passed:,} calls went through unrecorded since this worker began")
                await asyncio.sleep(REOPEN_PAUSE)
            else:
                self._service.use_writer(writer)
                _say(f"the journal in {self._config.writer_dir} can be written again")
                return

    # --- beside the data path ----------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._service.tick()

    async def _probe(self, tls: ssl.SSLContext | None) -> None:
        config = self._config
        while True:
            healthy = await upstream_is_healthy(
                config.upstream_host, config.upstream_port, tls, config.authority
            )
            self._service.upstream_answers = healthy
            if config.upstream_is_launched:
                self._service.upstream_ready = healthy
            await asyncio.sleep(5.0 if healthy else 0.25)

    async def _drain(self, service: Service) -> None:
        """Let calls in flight finish, up to the limit or a second signal; then they end as interrupted."""
        service.drain()
        limit = self._config.drain_timeout
        waiting = [asyncio.ensure_future(event.wait()) for event in (service.drained, self._hurry)]
        await asyncio.wait(waiting, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        for one in waiting:
            one.cancel()
        if not service.drained.is_set():
            when = "at once, told twice" if self._hurry.is_set() else f"{limit:g} s after it was told to"
            service.interrupt_all(f"the proxy stopped {when}")


def _gate(config: ProxyConfig) -> Gate:
    """Make the gate. Raises KeyFileError, ValueError (a path) or OSError (the counters)."""
    keys = plan = None
    if config.api_keys is not None:
        config.usage_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys, plan = KeyRing(config.api_keys), UsagePlan(config.usage_dir / "counters")
    return Gate(PathTable(config.extra_paths), keys=keys, plan=plan, gateway_secret=config.gateway_secret)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the supervisor collects its children's stderr
