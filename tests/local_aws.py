"""A whole AWS on loopback for tests: ministack as a child process, ended by its pid.

Where it differs from AWS is said in the tests that meet it.
"""

from __future__ import annotations

import contextlib
import functools
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
from typing import Any

import boto3
import psutil
from botocore.config import Config

from certificates import make_certificate
from llm_audit.deploy.clients import Aws

REGION = "eu-central-1"
ACCOUNT = "000000000000"


@dataclass(frozen=True)
class LocalAws:
    """A running AWS; ``test``/``test`` may do everything."""

    endpoint: str
    pid: int
    log: Path
    """What it says, and what the functions in it write."""
    region: str = REGION
    certificate: Path | None = None
    """What to trust, where it speaks TLS."""

    @property
    def environ(self) -> dict[str, str]:
        """What a program needs to reach it."""
        trusted = str(self.certificate) if self.certificate else None
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            **({"AWS_CA_BUNDLE": trusted, "SSL_CERT_FILE": trusted} if trusted else {}),
        }

    def aws(self) -> Aws:
        """Give our own clients; whoever asks often keeps them."""
        return Aws(self.region, self.endpoint)

    @functools.cache  # noqa: B019 - it lives as long as the tests do, and a client costs more than most calls
    def client(self, service: str, *, key: str = "test", secret: str = "test") -> Any:
        """Give a plain boto3 client, to look at what really is there; it tries nothing twice."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            verify=str(self.certificate) if self.certificate else None,
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}, read_timeout=60),
        )


def inherited() -> dict[str, str]:
    """Give this process's environment without its own settings of AWS and of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AUDIT_"))}


@contextmanager
def running_aws(
    folder: Path, *, speaks_tls: bool = False, region: str = REGION, **environ: str
) -> Iterator[LocalAws]:
    """Start it on a free port, wait until it answers, end it. ``AUTH="true"`` enforces policies."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "localhost",
        "MINISTACK_REGION": region,
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "TMPDIR": str(folder),
    }
    certificate = None
    if speaks_tls:
        certificate, key = make_certificate(folder)
        settings |= {"USE_SSL": "1", "MINISTACK_SSL_CERT": str(certificate), "MINISTACK_SSL_KEY": str(key)}
    program = Path(sys.executable).parent / "ministack"
    log = folder / "ministack.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [program], env={**inherited(), **settings, **environ}, stdout=output, stderr=output, cwd=folder
        )
        try:
            while not _answers(port, certificate):
                assert server.poll() is None, f"ministack ended: {log.read_text()[-2000:]}"
            scheme = "https" if speaks_tls else "http"
            yield LocalAws(f"{scheme}://127.0.0.1:{port}", server.pid, log, region, certificate)
        finally:
            _end(server)


def _answers(port: int, certificate: Path | None) -> bool:
    with contextlib.closing(connect(f"127.0.0.1:{port}", certificate)) as connection:
        try:
            connection.request("GET", "/_ministack/health")
            return connection.getresponse().status == 200
        except OSError:
            return False


def _end(server: subprocess.Popen[bytes]) -> None:
    """End it and its Lambda workers, which are its children; a stack that still waits for something holds it up."""
    family = []
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(server.pid)
        family = [process, *process.children(recursive=True)]
    server.terminate()
    for process in psutil.wait_procs(family, timeout=2)[1]:
        process.kill()
    server.wait()


def connect(address: str, certificate: Path | None) -> http.client.HTTPConnection:
    """Give a connection to it, over TLS where there is a certificate to trust."""
    if certificate is None:
        return http.client.HTTPConnection(address, timeout=60)
    context = ssl.create_default_context(cafile=str(certificate))
    return http.client.HTTPSConnection(address, timeout=60, context=context)
