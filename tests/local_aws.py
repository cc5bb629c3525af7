"""A whole AWS on loopback for tests: ministack, one per test module that asks for it, ended by its pid.

Where it differs from AWS is said in the tests that meet it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from llm_audit.deploy.clients import Aws
from local_s3 import _answers

REGION = "eu-central-1"


@dataclass(frozen=True)
class LocalAws:
    """A running AWS; ``test``/``test`` may do everything."""

    endpoint: str
    pid: int

    @property
    def environ(self) -> dict[str, str]:
        """What a program needs to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def aws(self) -> Aws:
        """Give our own clients."""
        return Aws(REGION, self.endpoint)


@contextmanager
def running_aws(folder: Path, **environ: str) -> Iterator[LocalAws]:
    """Start it on a free port, wait until it answers, end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "localhost",
        "MINISTACK_REGION": REGION,
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "TMPDIR": str(folder),
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AUDIT_"))}
    program = Path(sys.executable).parent / "ministack"
    log = folder / "ministack.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [str(program)], env={**inherited, **settings, **environ}, stdout=output, stderr=output, cwd=folder
        )
        try:
            while not _answers(port):
                assert server.poll() is None, f"ministack ended: {log.read_text()[-2000:]}"
            yield LocalAws(f"http://127.0.0.1:{port}", server.pid)
        finally:
            # Its Lambda workers are its children; a stack that still waits for something would hold it up.
            family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
            server.terminate()
            for process in psutil.wait_procs(family, timeout=2)[1]:
                process.kill()
            server.wait()
