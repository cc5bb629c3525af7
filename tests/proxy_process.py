"""A real worker process of the proxy, for what only a process shows: memory, kills, several on one socket."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

PROGRAM = """
import json, socket, sys
from pathlib import Path
from llm_audit.journal.model import Durability
from llm_audit.proxy.config import ProxyConfig
from llm_audit.proxy.worker import run
told = json.loads(sys.argv[1])
config = ProxyConfig(
    writer_dir=Path(told["writer"]), usage_dir=Path(told["writer"]).parent,
    upstream_host="127.0.0.1", upstream_port=told["port"],
    durability=Durability[told["durability"]], journal_limit_bytes=told["limit"],
)
sys.exit(run(config, socket.socket(fileno=told["listener"]), told["pipe"]))
"""


@dataclass
class Worker:
    """One running proxy process."""

    process: subprocess.Popen[bytes]
    pipe: int
    """Our end of the pipe: closing it tells the worker that its supervisor is gone."""

    def resident(self) -> int:
        """Bytes of memory that are its own: what it maps of files (its journal) can be taken back any time."""
        info = psutil.Process(self.process.pid).memory_info()
        return int(info.rss - info.shared)

    def rss(self) -> int:
        """Bytes of memory that it holds, mapped files included."""
        return psutil.Process(self.process.pid).memory_info().rss

    def kill(self) -> None:
        """End it at once."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=20)
        os.close(self.pipe)
        self.pipe = -1

    def stop(self) -> int:
        """Drain it; its exit code."""
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1
        return self.process.wait(timeout=20)


def listen() -> socket.socket:
    """A listening socket on a free port, for any number of workers."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    return listener


def start(
    listener: socket.socket,
    writer: Path,
    upstream_port: int,
    *,
    durability: str = "PROCESS",
    limit: int = 2**30,
) -> Worker:
    """Start a worker on a listening socket and wait until it serves."""
    theirs, ours = os.pipe()
    told = {
        "writer": str(writer),
        "port": upstream_port,
        "durability": durability,
        "limit": limit,
        "listener": listener.fileno(),
        "pipe": theirs,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(told)], pass_fds=(listener.fileno(), theirs)
    )
    os.close(theirs)
    return Worker(process, ours)


@contextmanager
def worker(writer: Path, upstream_port: int, **settings: object) -> Iterator[tuple[Worker, int]]:
    """One worker and its port."""
    with listen() as listener:
        one = start(listener, writer, upstream_port, **settings)  # type: ignore[arg-type]
        try:
            wait_until_served(listener.getsockname()[1])
            yield one, listener.getsockname()[1]
        finally:
            if one.process.poll() is None:
                one.kill()
            elif one.pipe >= 0:
                os.close(one.pipe)


def wait_until_served(port: int) -> None:
    """Ask for the health of the proxy until an answer comes."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
            sock.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
            if select.select([sock], [], [], 30)[0] and sock.recv(65536).startswith(b"HTTP/1.1 "):
                return
    raise AssertionError("the worker does not serve")
