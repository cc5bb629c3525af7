"""The programs that ``serve`` runs, as values: who they are, how they are started, in which order they stop. Pure."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from llm_audit.cli.child_process import Program
from llm_audit.cli.settings import Settings
from llm_audit.cli.settings_table import SETTINGS
from llm_audit.cli.supervision import PATIENT, Child
from llm_audit.proxy.launcher import GRACE

PROCESSES = "llm_audit.cli.processes"

SHIP_PATIENCE = 30.0
"""Seconds that the shipper has, after the proxies have drained, to store what is there."""

_MARGIN = 5.0
"""Seconds between a limit that a child keeps by itself and the moment when it is killed for not keeping it."""


@dataclass(frozen=True, slots=True)
class ProxyOptions:
    """What one proxy worker is told beyond the settings."""

    number: int
    """From 1."""
    writer: Path
    """Its journal writer's directory."""
    listener: int
    """The descriptor of the listening socket."""
    is_launched: bool
    """True where the model server is launched by this supervisor."""


@dataclass(frozen=True, slots=True)
class ShipperOptions:
    """What the shipper is told beyond the settings."""

    patience: float = SHIP_PATIENCE


@dataclass(frozen=True, slots=True)
class FirstCallsOptions:
    """What the demo's first calls are told beyond the settings."""

    base_url: str
    console_url: str | None = None


@dataclass(frozen=True, slots=True)
class ConsoleOptions:
    """What the console is told beyond the settings."""

    listener: int
    """The descriptor of the listening socket."""
    callers_url: str
    """Where callers on this machine reach the proxy."""


def child_environment(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Give the environment of our own children: ours, with every setting as it was resolved here."""
    ours = {setting.env for setting in SETTINGS if setting.env.startswith("AUDIT_")}
    kept = {name: value for name, value in environ.items() if name not in ours}
    return {**kept, **settings.environment()}


def proxy(settings: Settings, environ: Mapping[str, str], options: ProxyOptions) -> Program:
    """Give one proxy worker: it accepts on the shared listening socket and writes its own journal."""
    return Program(
        Child(f"proxy-{options.number}", stage=1, patience=settings.drain_timeout + _MARGIN),
        _module("proxy", options),
        child_environment(settings, environ),
        descriptors=(options.listener,),
    )


def shipper(settings: Settings, environ: Mapping[str, str]) -> Program:
    """Give the shipper, which also fills the embedded index."""
    return Program(
        Child("shipper", stage=2, patience=SHIP_PATIENCE + _MARGIN, is_needed_to_stop=True),
        _module("shipper", ShipperOptions()),
        child_environment(settings, environ),
        owns_its_output=settings.cloudwatch_metrics == "on",
        unblocks_signals=True,
    )


def console(settings: Settings, environ: Mapping[str, str], options: ConsoleOptions) -> Program:
    """Give the web console. Nothing waits for it, and it may refuse nothing: calls are served without it."""
    return Program(
        Child("console", stage=1, patience=_MARGIN, may_refuse=False),
        _module("console", options),
        child_environment(settings, environ),
        descriptors=(options.listener,),
    )


def model_server(argv: Sequence[str], environ: Mapping[str, str], umask: int) -> Program:
    """Give a launched model server, under the small process that holds it.

    Our settings (a secret among them) are none of its business; its files get the user's own umask.
    """
    theirs = {name: value for name, value in environ.items() if not name.startswith("AUDIT_")}
    theirs.setdefault("PYTHONUNBUFFERED", "1")
    return Program(
        Child("model", stage=3, patience=GRACE + _MARGIN, backoff=PATIENT, may_refuse=False),
        (sys.executable, "-m", f"{PROCESSES}.model_server", *argv),
        theirs,
        umask=umask,
    )


def first_calls(
    settings: Settings, environ: Mapping[str, str], base_url: str, console_url: str | None
) -> Program:
    """Give the demo's one-off process: makes a few calls, shows what became of them, and ends."""
    return Program(
        Child("first-calls", stage=0, patience=2.0, backoff=None, may_refuse=False),
        _module("first_calls", FirstCallsOptions(base_url, console_url)),
        child_environment(settings, environ),
        owns_its_output=True,
    )


def _module(
    name: str, options: ProxyOptions | ShipperOptions | ConsoleOptions | FirstCallsOptions
) -> tuple[str, ...]:
    return (sys.executable, "-m", f"{PROCESSES}.{name}", orjson.dumps(options, default=str).decode())
