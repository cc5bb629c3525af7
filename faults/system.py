"""``llm-audit serve`` with the demo's model server, in real processes; and how to end any of them."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATIENCE_S = 300.0
"""How long the shipper may take to store what a run has left."""


def free_port() -> int:
    """Give a port that nobody listens on, below those from which the kernel picks by itself."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def model_command(port: int, pace_ms: float) -> list[str]:
    """Give the command line of the demo's model server."""
    return [sys.executable, "-m", "llm_audit.demo.server", "--pace-ms", f"{pace_ms:g}", "--port", str(port)]


@contextmanager
def model_server(pace_ms: float = 2.0) -> Iterator[int]:
    """Run a model server that no system launches; gives its port."""
    port = free_port()
    process = subprocess.Popen(model_command(port, pace_ms), stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if not process.stdout.readline().startswith(b"listening"):
            raise RuntimeError("the demo's model server does not start")
        yield port
    finally:
        process.kill()
        process.communicate()


class System:
    """The whole product in one folder; started with ``with``, ended whatever happens."""

    def __init__(
        self,
        folder: Path,
        *,
        durability: str = "process",
        settings: Mapping[str, str] | None = None,
        pace_ms: float = 2.0,
        environ: Mapping[str, str] | None = None,
        upstream: int | None = None,
        console: bool = False,
    ) -> None:
        """Start nothing yet. ``settings``: further ``AUDIT_…`` variables.

        ``upstream``: the port of a model server that runs already; without it, the system launches its own.
        ``console``: whether the web pages are served, too, which takes a second of CPU at each start.
        """
        self.folder = folder
        self.port = free_port()
        self.model_port = free_port()
        self.settings = {
            "AUDIT_DATA_DIR": str(folder / "data"),
            "AUDIT_LISTEN": f"127.0.0.1:{self.port}",
            "AUDIT_CONSOLE": f"127.0.0.1:{free_port()}" if console else "off",
            "AUDIT_DURABILITY": durability,
            "AUDIT_DRAIN_TIMEOUT": "1s",
            **(settings or {}),
        }
        self.environ = dict(environ or {})
        """Further variables of the next start."""
        self._upstream = upstream
        self._pace_ms = pace_ms
        self.process: subprocess.Popen[bytes]

    @property
    def data(self) -> Path:
        """The data folder."""
        return Path(self.settings["AUDIT_DATA_DIR"])

    @property
    def objects(self) -> Path:
        """Where the records are stored."""
        return self.data / "objects"

    @property
    def journal(self) -> Path:
        """Where the journal is."""
        return Path(self.settings.get("AUDIT_JOURNAL_DIR", self.data / "journal"))

    @property
    def log(self) -> str:
        """What the processes said."""
        return (self.folder / "log").read_text()

    def command(self) -> list[str]:
        """Give the command line of ``serve``."""
        serve = [sys.executable, "-m", "llm_audit", "serve"]
        if self._upstream is not None:
            return [*serve, "--upstream", f"http://127.0.0.1:{self._upstream}"]
        return [*serve, "--", *model_command(self.model_port, self._pace_ms)]

    def start(self) -> None:
        """Start it (again)."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AUDIT_")}
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                env=kept | self.settings | self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def status(self, name: str) -> dict[str, Any]:
        """Give what the supervisor or the shipper says of itself; empty where it says nothing yet."""
        try:
            status: dict[str, Any] = json.loads((self.data / "status" / f"{name}.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return status

    def children(self) -> dict[str, int]:
        """Give names and process ids of the running children."""
        status = self.status("supervisor")
        if status.get("pid") != self.process.pid:
            return {}  # the last supervisor's
        found = {name: child.get("pid") for name, child in status.get("children", {}).items()}
        return {name: pid for name, pid in found.items() if pid}

    def memory(self, *, at_most: bool = False) -> dict[str, int]:
        """Give the resident memory of proxy and shipper in MB: now, or the most that it ever was."""
        field = "VmHWM:" if at_most else "VmRSS:"
        found = {}
        for name, pid in self.children().items():
            if name == "shipper" or name.startswith("proxy"):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                line = next(line for line in lines if line.startswith(field))
                found[name.partition("-")[0]] = int(line.split()[1]) * 1024 // 10**6
        return found

    def restarts(self) -> int:
        """Count how often the supervisor has started a child again."""
        return sum(
            child.get("restarts", 0) for child in self.status("supervisor").get("children", {}).values()
        )

    def end_all(self) -> None:
        """End every process at once."""
        for pid in (self.process.pid, *self.children().values()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        """End every process at once; start with ``environ`` as it is now."""
        self.end_all()
        self.start()

    def kill(self, name: str) -> bool:
        """End one process at once (``supervisor`` is started again); False where it is not there."""
        pid = self.process.pid if name == "supervisor" else self.children().get(name)
        if self.process.poll() is not None:
            raise RuntimeError(f"the supervisor ended by itself: {self.log[-2000:]}")
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        if name == "supervisor":
            self.process.wait()
            self.start()
        return True

    def answers(self) -> bool:
        """Tell whether ``/health`` says that proxy, journal and model server are well."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as sock:
                sock.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                return sock.recv(65536).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False

    def wait_until_ready(self, seconds: float = 60.0) -> None:
        """Wait until calls are served. Raises RuntimeError with the log if that does not come."""
        self.wait_for(self.answers, "it does not serve", seconds)

    def wait_for(self, condition: Callable[[], bool], otherwise: str, seconds: float = 60.0) -> None:
        """Wait until a condition holds. Raises RuntimeError with the log if it does not."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= end or self.process.poll() is not None:
                raise RuntimeError(f"{otherwise}: {self.log[-2000:]}")
            time.sleep(0.05)

    def is_shipped(self) -> bool:
        """Tell whether the shipper says that nothing waits any more."""
        status = self.status("shipper")
        writers = status.get("writers", {}).values()
        running = bool(status) and status["pid"] == self.children().get("shipper")
        return running and not any(one["unshipped"] or one["openExchanges"] for one in writers)

    def stop(self) -> int:
        """Wait until everything is stored, then drain; give the exit code."""
        self.wait_for(self.is_shipped, "the shipper does not come to its end", PATIENCE_S)
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def segments_left(self) -> int:
        """Count the journal's segments."""
        return sum(1 for _ in self.journal.glob("w-*/*.seg"))

    def journal_bytes(self) -> int:
        """Give what the journal takes of the disk."""
        total = 0
        for path in self.journal.glob("w-*/*"):
            with suppress(FileNotFoundError):
                total += path.stat().st_blocks * 512
        return total


def memory_note(rested: dict[str, int], most: dict[str, int]) -> str:
    """Say how much memory the processes took."""
    return "; ".join(f"{name} {rested[name]} MB at rest, {most[name]} MB at most" for name in sorted(most))
