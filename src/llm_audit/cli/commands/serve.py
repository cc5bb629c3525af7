"""``llm-audit serve``: the whole system on one machine, under one supervisor."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Sequence

import click

from llm_audit import __version__
from llm_audit.cli import programs
from llm_audit.cli.child_process import Program
from llm_audit.cli.console_port import open_console_port
from llm_audit.cli.kinds import Address, Origin
from llm_audit.cli.programs import ConsoleOptions, ProxyOptions
from llm_audit.cli.settings import ALL, SettingError, Settings, load_settings, refuse, with_setting_flags
from llm_audit.cli.startup import (
    bind_listener,
    check_files,
    check_journal_size,
    check_port_is_free,
    choose_writers,
    lock_journal,
    prepare_folders,
    raise_open_files,
)
from llm_audit.cli.supervisor import Supervisor, say
from llm_audit.proxy.launcher import Launch, LaunchError, prepare

_PATIENCE = 15.0
"""Seconds that ports have to become free where the last supervisor died and its children may still hold them."""

_EPILOG = """\b
Examples:
  llm-audit serve --demo
  llm-audit serve --upstream http://127.0.0.1:8001
  llm-audit serve -- vllm serve MODEL --port 8001
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--demo", is_flag=True, help="Bring a small model server, make a few calls, show what became of them."
)
@click.option(
    "--demo-pace-ms", type=click.FloatRange(0, 10_000), default=15.0, show_default=True, metavar="MS",
    help="With --demo: milliseconds per generated token.",
)  # fmt: skip
@click.option(
    "--allow-model-host", is_flag=True,
    help="Let a launched model server listen where others can reach it, past the audit.",
)  # fmt: skip
@with_setting_flags(*ALL)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND ...]")
def command(
    *,
    demo: bool,
    demo_pace_ms: float,
    allow_model_host: bool,
    flags: dict[str, str | None],
    command: tuple[str, ...],
) -> None:
    """Run the audited proxy in front of a model server, and store and index every call.

    The model server is the one at --upstream, or a COMMAND that is launched here (on loopback, port 8001 unless it
    names another), or the demo's own. SIGTERM or Ctrl-C drains: calls in flight finish, what is there is stored.
    """
    if command and (demo or flags["upstream"]):
        raise click.UsageError("choose one of --demo, --upstream URL and -- COMMAND")
    settings = load_settings(os.environ, flags, {"listen": "127.0.0.1:8000"} if demo else {})
    launch = None
    if demo:
        launch = _demo_server(settings.upstream, demo_pace_ms)
    elif command:
        launch = _launched(command, settings.upstream, any_host=allow_model_host)
    sys.exit(_serve(settings, launch, demo=demo))


def _demo_server(origin: Origin, pace_ms: float) -> Launch:
    """Give the demo's model server, which takes the place of the upstream that is set."""
    if origin.is_tls or not _is_loopback(origin.host):
        refuse(
            "upstream", origin, "http://127.0.0.1:PORT with --demo, whose own model server takes that port"
        )
    argv = (sys.executable, "-m", "llm_audit.demo.server", "--pace-ms", f"{pace_ms:g}")
    return Launch((*argv, "--host", origin.host, "--port", str(origin.port)), origin.host, origin.port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _launched(command: Sequence[str], default: Origin, *, any_host: bool) -> Launch:
    try:
        return prepare(command, default_port=default.port, any_host=any_host)
    except LaunchError as error:
        raise SettingError(f"{error}.") from None


def _serve(settings: Settings, launch: Launch | None, *, demo: bool) -> int:
    """Ask the machine for all that is needed, then supervise until the end; give the exit code."""
    umask = os.umask(0o077)
    raise_open_files()
    check_files(settings)
    check_journal_size(settings)
    prepare_folders(settings)
    lock = lock_journal(settings.journal_dir)
    try:
        return _supervise(
            settings, launch, umask, demo=demo, patience=_PATIENCE if lock.last_one_died else 0.0
        )
    finally:
        lock.release()


def _supervise(settings: Settings, launch: Launch | None, umask: int, *, demo: bool, patience: float) -> int:
    """Take the ports, start everything, stay until it has ended; give the exit code."""
    if launch:
        check_port_is_free(Address(launch.host, launch.port), patience=patience)
        settings = settings.with_upstream(Origin("http", launch.host, launch.port))
    listener = bind_listener(settings.listen, patience=patience)
    at = Address(*listener.getsockname()[:2])
    console = open_console_port(settings, patience, say)
    base_url = _base_url(settings, at)
    children = _programs(settings, launch, listener, umask)
    if console:
        options = ConsoleOptions(console.listener.fileno(), base_url)
        children.append(programs.console(settings, os.environ, options))
    console_url = console.url if console else None
    if demo:
        children.append(programs.first_calls(settings, os.environ, base_url, console_url))
    seen = f", console on {console_url}" if console_url else ""
    say(f"llm-audit {__version__}: {_describe(settings, launch, at, demo=demo)}{seen}")
    facts = {
        "listen": str(at),
        "upstream": str(settings.upstream),
        "version": __version__,
        "console": console_url,
    }
    status_path = settings.status_dir / "supervisor.json"
    return Supervisor(children, listener=listener, status_path=status_path, facts=facts).run()


def _programs(
    settings: Settings, launch: Launch | None, listener: socket.socket, umask: int
) -> list[Program]:
    """Give every child, the slowest to be ready first."""
    children = [programs.model_server(launch.argv, os.environ, umask)] if launch else []
    for number, writer in enumerate(choose_writers(settings.journal_dir, settings.workers), 1):
        options = ProxyOptions(number, writer, listener.fileno(), is_launched=launch is not None)
        children.append(programs.proxy(settings, os.environ, options))
    return [*children, programs.shipper(settings, os.environ)]


def _base_url(settings: Settings, at: Address) -> str:
    """Give the URL under which this machine reaches the proxy."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(at.host, at.host)  # noqa: S104 - compared, never bound
    return f"{'https' if settings.tls_cert else 'http'}://{Address(host, at.port)}"


def _describe(settings: Settings, launch: Launch | None, at: Address, *, demo: bool) -> str:
    server = "demo model server" if demo else "launched model server" if launch else "model server"
    scheme = "https" if settings.tls_cert else "http"
    workers = "1 worker" if settings.workers == 1 else f"{settings.workers} workers"
    return (
        f"proxy on {scheme}://{at} ({workers}), {server} at {settings.upstream}, "
        f"journal in {settings.journal_dir}, records in {settings.objects_dir or settings.bucket}/{settings.prefix}"
    )
