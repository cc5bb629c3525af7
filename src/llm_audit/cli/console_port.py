"""The console's port, which the supervisor holds so that a console that starts again finds its callers waiting."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass

from llm_audit.cli.kinds import Address
from llm_audit.cli.settings import SettingError, Settings
from llm_audit.cli.startup import bind_listener
from llm_audit.console.roles import is_loopback

_PATIENCE = 3.0
"""Seconds at most that the port has to become free: calls wait for the console's port no longer than that."""

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, never bound


@dataclass(frozen=True, slots=True)
class ConsolePort:
    """The bound socket, and the address to type on this machine."""

    listener: socket.socket
    url: str


def open_console_port(settings: Settings, patience: float, say: Callable[[str], None]) -> ConsolePort | None:
    """Bind the console's address; None where it is off, or cannot be had: calls are served without a console."""
    address = settings.console_address
    if address is None:
        return None
    try:
        listener = bind_listener(address, patience=min(patience, _PATIENCE), setting="console")
    except SettingError as error:
        say(f"llm-audit: there is no console: {error}")
        return None
    at = Address(*listener.getsockname()[:2])
    scheme = "https" if has_tls(settings) else "http"
    return ConsolePort(listener, f"{scheme}://{Address(_EVERYWHERE.get(at.host, at.host), at.port)}")


def has_tls(settings: Settings) -> bool:
    """Tell whether the console speaks TLS: off this machine, with the proxy's certificate where it has one."""
    address = settings.console_address
    return settings.tls_cert is not None and address is not None and not is_loopback(address.host)


def served_hosts(settings: Settings) -> frozenset[str]:
    """Give the names under which the console is served, as the Host field writes them."""
    address = settings.console_address
    own = {"localhost", "127.0.0.1", "[::1]"}
    named = settings.console_hosts or ((address.host,) if address else ())
    return frozenset({*own, *(f"[{host}]" if ":" in host else host.lower() for host in named)})
