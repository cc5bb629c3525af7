"""The model server that ``serve -- COMMAND`` launches: what its command becomes, and the small process that holds it.

The model server must be reachable by the proxy alone, or calls could go round the audit: its command gets
``--host 127.0.0.1`` unless it names a host, and one that names a reachable host is refused unless the operator
insists. It also gets ``--port`` unless it names one, since vLLM's default (8000) is where the proxy listens.

``hold`` runs in a process of its own, which leads a process group that the model server and its children share. It
ends that group when it is told to (SIGTERM) or when the supervisor is gone (end of file on the pipe): SIGTERM first,
SIGKILL after ``grace``. Starting it again, with back-off, is the supervisor's business.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
_PR_SET_PDEATHSIG = 1
GRACE = 10.0
"""Seconds that the model server has to end by itself after SIGTERM."""


class LaunchError(ValueError):
    """The command cannot be launched as it stands; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A model server to be launched: its full command, and where it will answer."""

    argv: tuple[str, ...]
    host: str
    port: int


def prepare(command: Sequence[str], *, default_port: int, any_host: bool = False) -> Launch:
    """Complete a model server's command with host and port. Raises LaunchError.

    ``any_host``: the operator insists on a host that others can reach too.
    """
    if not command:
        raise LaunchError(
            "no command was given after --; example: llm-audit serve -- vllm serve MODEL --port 8001"
        )
    if shutil.which(command[0]) is None:
        raise LaunchError(f"the model server's program {command[0]!r} was not found on PATH")
    argv = tuple(command)
    host = _last_value(argv, "--host")
    if host is None:
        host, argv = LOOPBACK, (*argv, "--host", LOOPBACK)
    elif not any_host and not _is_loopback(host):
        raise LaunchError(
            f"the model server's command names --host {host}, where calls could reach it past the audit; "
            f"leave it out (it gets --host {LOOPBACK}), or add --allow-model-host before the --"
        )
    port_text = _last_value(argv, "--port")
    if port_text is None:
        port_text, argv = str(default_port), (*argv, "--port", str(default_port))
    if not (port_text.isascii() and port_text.isdigit() and 0 < int(port_text) < 65536):
        raise LaunchError(
            f"the model server's command names --port {port_text}; expected a number from 1 to 65535"
        )
    return Launch(argv, _reached_at(host), int(port_text))


def _last_value(argv: Sequence[str], option: str) -> str | None:
    """Give an option's value, written ``--option value`` or ``--option=value``; the last one counts."""
    value = None
    for position, word in enumerate(argv):
        if word == option and position + 1 < len(argv):
            value = argv[position + 1]
        elif word.startswith(option + "="):
            value = word[len(option) + 1 :]
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reached_at(host: str) -> str:
    """Give the host under which this machine reaches a server that listens on ``host``."""
    return {"0.0.0.0": LOOPBACK, "::": "::1", "": LOOPBACK}.get(host, host)  # noqa: S104 - compared, never bound


def hold(
    argv: Sequence[str], *, lifeline: int, signals: int, say: Callable[[str], None], grace: float = GRACE
) -> int:
    """Run a model server until it ends, or end it; give its exit code (or minus the signal that ended it).

    ``lifeline`` is the pipe from the supervisor; ``signals`` gives the numbers of caught signals as bytes (SIGCHLD,
    SIGTERM, SIGINT), as in ``signal.set_wakeup_fd``. The caller leads a process group of its own.
    """
    started = time.monotonic()
    # Where we are SIGKILLed, the supervisor kills the whole group, to which the model server belongs; where it
    # is killed with us, the kernel still kills the model server, though not what that started.
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, preexec_fn=_bound_to_this_process())  # noqa: PLW1509 - this process has one thread
    say(f"model server {os.path.basename(argv[0])} started, process {process.pid}")  # noqa: PTH119 - no file is meant
    with selectors.DefaultSelector() as selector:
        selector.register(signals, selectors.EVENT_READ)
        selector.register(lifeline, selectors.EVENT_READ)
        is_abandoned = _wait(process, selector, lifeline=lifeline, signals=signals)
        if process.poll() is not None:
            say(
                f"model server ended by itself, {_describe(process.returncode)}, {time.monotonic() - started:.0f} s old"
            )
        else:
            selector.unregister(lifeline)
            _end(process, selector, signals=signals, grace=grace)
    if is_abandoned or process.returncode is None:
        os.killpg(0, signal.SIGKILL)  # nobody is left to do it for us; this ends this process, too
    return process.returncode


def _bound_to_this_process() -> Callable[[], None] | None:
    """Give what a child does before its program: have the kernel SIGKILL it when we end (Linux's prctl(2))."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # we ended before the kernel knew
            os._exit(1)

    return bind


def _wait(
    process: subprocess.Popen[bytes], selector: selectors.BaseSelector, *, lifeline: int, signals: int
) -> bool:
    """Wait until the model server ends or is to be ended; tell whether the supervisor is gone."""
    while True:
        ready = {key.fd for key, _ in selector.select()}
        caught = os.read(signals, 512) if signals in ready else b""
        if lifeline in ready and not os.read(lifeline, 512):
            return True
        if signal.SIGTERM in caught or signal.SIGINT in caught or process.poll() is not None:
            return False


def _end(
    process: subprocess.Popen[bytes], selector: selectors.BaseSelector, *, signals: int, grace: float
) -> None:
    """Ask the group to end; return once the model server has, or after ``grace``."""
    os.killpg(0, signal.SIGTERM)  # ourselves as well: caught, and of no further meaning here
    deadline = time.monotonic() + grace
    while process.poll() is None and (left := deadline - time.monotonic()) > 0:
        if selector.select(left):
            os.read(signals, 512)


def _describe(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
