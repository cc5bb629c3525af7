"""A whole AWS on loopback for tests: ministack, one per test module that asks for it, ended by its pid.

Where it differs from AWS is said in the tests that meet it.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from certificates import make_certificate
from llm_audit.deploy.clients import Aws

REGION = "eu-central-1"


@dataclass(frozen=True)
class LocalAws:
    """A running AWS; ``test``/``test`` may do everything."""

    endpoint: str
    pid: int
    certificate: Path | None = None
    """What to trust, where it speaks TLS."""

    @property
    def environ(self) -> dict[str, str]:
        """What a program needs to reach it."""
        trusted = str(self.certificate) if self.certificate else None
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            **({"AWS_CA_BUNDLE": trusted, "SSL_CERT_FILE": trusted} if trusted else {}),
        }

    def aws(self) -> Aws:
        """Give our own clients."""
        return Aws(REGION, self.endpoint)


@contextmanager
def running_aws(folder: Path, *, speaks_tls: bool = False, **environ: str) -> Iterator[LocalAws]:
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
    certificate = None
    if speaks_tls:
        certificate, key = make_certificate(folder)
        settings |= {"USE_SSL": "1", "MINISTACK_SSL_CERT": str(certificate), "MINISTACK_SSL_KEY": str(key)}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AUDIT_"))}
    program = Path(sys.executable).parent / "ministack"
    log = folder / "ministack.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [str(program)], env={**inherited, **settings, **environ}, stdout=output, stderr=output, cwd=folder
        )
        try:
            while not _answers(port, certificate):
                assert server.poll() is None, f"ministack ended: {log.read_text()[-2000:]}"
            scheme = "https" if speaks_tls else "http"
            yield LocalAws(f"{scheme}://127.0.0.1:{port}", server.pid, certificate)
        finally:
            # Its Lambda workers are its children; a stack that still waits for something would hold it up.
            family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
            server.terminate()
            for process in psutil.wait_procs(family, timeout=2)[1]:
                process.kill()
            server.wait()


def _answers(port: int, certificate: Path | None) -> bool:
    with contextlib.closing(connect(f"127.0.0.1:{port}", certificate)) as connection:
        try:
            connection.request("GET", "/_ministack/health")
            return connection.getresponse().status == 200
        except OSError:
            return False


def connect(address: str, certificate: Path | None) -> http.client.HTTPConnection:
    """Give a connection to it, over TLS where there is a certificate to trust."""
    if certificate is None:
        return http.client.HTTPConnection(address, timeout=60)
    context = ssl.create_default_context(cafile=str(certificate))
    return http.client.HTTPSConnection(address, timeout=60, context=context)
