"""The demo model server as a process of its own, for tests that want a real upstream: ``with demo_process() as url``."""

import http.client
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def demo_process(*arguments: str, pace_ms: float = 0) -> Iterator[str]:
    """Start the server on a free loopback port, give its base URL, and end it by SIGTERM."""
    command = [
        sys.executable,
        "-m",
        "llm_audit.demo.server",
        "--port",
        "0",
        "--pace-ms",
        str(pace_ms),
        *arguments,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("listening on http://"), line
            yield line.split()[-1]
        finally:
            process.terminate()
            process.wait(timeout=20)


def call(url: str, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """Make one call on a connection of its own; underscores in header names read as hyphens. Status and body."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    try:
        connection.request(
            method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()
