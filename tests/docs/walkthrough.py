"""A document's shell commands, run in order by one bash, and the audited model server that they expect.

The emulator has no ECS: the image's entry point is started here, in front of a model server, with credentials of the
task's role. The emulator also ignores an integration's streaming, time-out and header mappings, drops the proxy's headers from its
answer, and has every index ACTIVE at once.
"""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from cli.served import Served
from cli.waiting import eventually
from vllm_stand_in import stand_in_vllm

ROOT = Path(__file__).parents[2]
ENTRY_POINT = ROOT / "docker/ecr-build/app/audit_proxy.py"


def checkout(folder):
    """Copy what the commands read, since they also write there; give the folder."""
    for path in ("aws", "infra", "scripts"):
        shutil.copytree(ROOT / path, folder / path)
    return folder


def with_zip(folder):
    """Put a ``zip -j ARCHIVE FILE`` into a folder for ``PATH`` where the system has none."""
    if shutil.which("zip") is None:
        program = folder / "zip"
        program.write_text(
            f"#!{sys.executable}\nimport os, sys, zipfile\nassert sys.argv[1] == '-j'\n"
            "with zipfile.ZipFile(sys.argv[2], 'w', zipfile.ZIP_DEFLATED) as archive:\n"
            "    archive.write(sys.argv[3], os.path.basename(sys.argv[3]))\n"
        )
        program.chmod(0o755)


class Commands:
    """A bash that runs pieces of a script one after the other, in one and the same shell."""

    def __init__(self, folder, environ, log):
        self._log = log
        with log.open("wb") as output:
            self._bash = subprocess.Popen(
                ["bash"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=folder,
                env=environ,
                text=True,
            )
        self._folder = folder
        self._count = 0
        self._write("set -Eeuo pipefail; trap 'echo \"FAILED: $BASH_COMMAND\" >&2' ERR\n")

    def _write(self, text):
        self._bash.stdin.write(text)
        self._bash.stdin.flush()

    def run(self, script):
        """Run a piece; return once it has ended. AssertionError, with what was said, where a command failed."""
        self._count += 1
        done = self._folder / f".done-{self._count}"
        # Read from a file: a command that reads its standard input would eat the script.
        piece = self._folder / f".piece-{self._count}.sh"
        piece.write_text(script)
        self._write(f". ./{piece.name} </dev/null\ntouch {done.name}\n")
        eventually(lambda: done.exists() or self._bash.poll() is not None, within=200)
        assert done.exists(), self._log.read_text()[-6000:]

    def end(self):
        """End the shell."""
        self._bash.stdin.close()
        try:
            self._bash.wait(10)
        finally:
            self._bash.kill()
            self._bash.wait()


@contextmanager
def commands(folder, environ):
    """Give a shell in a folder."""
    shell = Commands(folder, environ, folder / ".said")
    try:
        yield shell
    finally:
        shell.end()


def role_environ(aws, role):
    """Give the environment of a task that runs with a role: its credentials, as ECS would hand them over.

    The role trusts ECS alone, and there is no ECS here: for a moment it trusts us.
    """
    iam, sts = aws.client("iam"), aws.client("sts")
    trusted = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    ours = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    iam.update_assume_role_policy(
        RoleName=role, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [ours]})
    )
    arn = iam.get_role(RoleName=role)["Role"]["Arn"]
    keys = sts.assume_role(RoleArn=arn, RoleSessionName="task")["Credentials"]
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(trusted))
    return {
        "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
        "AWS_SESSION_TOKEN": keys["SessionToken"],
        "AWS_ENDPOINT_URL": aws.endpoint,
        "AWS_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def container(folder, port, upstream_port, **environ):
    """Run the image's entry point in front of a stand-in ``vllm``, listening on a port; ready when given."""
    folder.mkdir()
    stand_in_vllm(folder / "bin")
    model = folder / "models" / "mistral8b"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    served = Served(
        folder,
        [sys.executable, str(ENTRY_POINT)],
        PATH=f"{folder / 'bin'}:{os.environ['PATH']}",
        MODEL=str(model),
        AUDIT_BUCKET="central-llm-audit",
        AUDIT_LISTEN=f"127.0.0.1:{port}",
        AUDIT_UPSTREAM=f"http://127.0.0.1:{upstream_port}",
        **environ,
    )
    try:
        yield served.ready()
    finally:
        served.end()
