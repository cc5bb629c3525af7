"""An S3 server on loopback for tests: ministack as a child process, one per test worker, ended by its pid."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config

from llm_audit.store.aws import S3Settings


@dataclass(frozen=True)
class LocalS3:
    """A running server; ``test``/``test`` may do everything."""

    endpoint: str

    def settings(self) -> S3Settings:
        return S3Settings(
            region="us-east-1",
            endpoint_url=self.endpoint,
            allow_http=True,
            static_keys={"access_key_id": "test", "secret_access_key": "test"},
        )

    def boto3(self):
        """Give an independent client, to look at what really lies there."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
        )

    def new_bucket(self, name: str) -> str:
        self.boto3().create_bucket(Bucket=name)
        return name


@contextmanager
def running_s3(log: Path, services: str = "s3", **environment: str) -> Iterator[LocalS3]:
    """Start the server on a free port, wait until it answers, end it; ``environment`` goes to it as well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = dict(
        os.environ,
        GATEWAY_PORT=str(port),
        BIND_HOST="127.0.0.1",
        MINISTACK_HOST="localhost",
        SFTP_ENABLED="0",
        IOT_MTLS_ENABLED="0",
        SERVICES=services,
        **environment,
    )
    program = Path(sys.executable).parent / "ministack"
    with log.open("wb") as output:
        server = subprocess.Popen([str(program)], env=environ, stdout=output, stderr=output, cwd=log.parent)
        try:
            while not _answers(port):
                assert server.poll() is None, f"ministack ended: {log.read_text()[-2000:]}"
            yield LocalS3(f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
