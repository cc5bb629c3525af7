"""An AWS account on loopback (ministack, every service), and the real AWS command line to use it with.

Where the emulator differs from AWS is said in the tests that meet it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from cli.served import free_port
from local_s3 import _answers

ROOT = Path(__file__).parents[1]
REGION = "eu-central-1"
ACCOUNT = "000000000000"

_AWS = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    told = {{"arguments": sys.argv[1:], "cwd": os.getcwd(), "environ": dict(os.environ)}}
    socket.send_fds(server, [json.dumps(told).encode()], [0, 1, 2])
    sys.exit(server.recv(1)[0])
"""


@dataclass(frozen=True)
class Account:
    """A running account; ``test``/``test`` may do everything in it."""

    endpoint: str

    def environ(self, **changes: str) -> dict[str, str]:
        """What a program needs to reach it, and nothing of this process's own settings of AWS."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "AUDIT_"))}
        return {
            **inherited,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            **changes,
        }

    def client(self, service):
        """Give a plain boto3 client."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"max_attempts": 0}),
        )


@contextmanager
def account(folder: Path, **environ: str) -> Iterator[Account]:
    """Start an account on a free port, wait until it answers, end it. ``AUTH="true"`` enforces policies."""
    port = free_port()
    settings = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "localhost",
        "MINISTACK_REGION": REGION,
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
    }
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "AUDIT_"))}
    log = folder / "ministack.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [Path(sys.executable).parent / "ministack"],
            env={**inherited, **settings, **environ},
            stdout=output,
            stderr=output,
            cwd=folder,
        )
        try:
            while not _answers(port):
                assert server.poll() is None, f"ministack ended: {log.read_text()[-2000:]}"
            yield Account(f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


@contextmanager
def aws_command(folder: Path) -> Iterator[Path]:
    """Put the real AWS command line, as ``aws``, into a folder for ``PATH``; skip where it is not installed."""
    python = ROOT / ".venv/awscli/bin/python"
    if not python.exists():
        pytest.skip("the AWS command line is not installed: `make test` installs it")
    folder.mkdir(exist_ok=True)
    # A socket's path has at most 107 bytes; a test's folder may be longer.
    with tempfile.TemporaryDirectory(prefix="aws-") as short:
        path = str(Path(short) / "socket")
        command = [python, ROOT / "tests/aws_cli_server.py", path]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout.readline() == "listening\n"
            program = folder / "aws"
            program.write_text(_AWS.format(python=sys.executable, path=path))
            program.chmod(0o755)
            yield folder
            server.stdin.close()
            server.wait(20)
