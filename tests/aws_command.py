"""The real AWS command line for tests, as a program for ``PATH``: see ``aws_cli_server``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

_AWS = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    told = {{"arguments": sys.argv[1:], "cwd": os.getcwd(), "environ": dict(os.environ)}}
    socket.send_fds(server, [json.dumps(told).encode()], [0, 1, 2])
    sys.exit(server.recv(1)[0])
"""


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
