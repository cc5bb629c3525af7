"""``llm-audit lambda build`` and ``redrive`` as they are typed; what redriving does to a queue is tested with the chain."""

from __future__ import annotations

import base64
import hashlib
import zipfile

from click.testing import CliRunner

from llm_audit.cli.lambda_bundle import bundle
from llm_audit.cli.main import main


def run(*arguments: str, **environment: str):
    return CliRunner().invoke(main, ["lambda", *arguments], env={"AWS_REGION": "eu-central-1", **environment})


def test_build_writes_the_zip_and_says_its_digest_as_lambda_does(tmp_path):
    output = tmp_path / "dist.zip"
    done = run("build", "--output", str(output))
    assert done.exit_code == 0, done.output
    digest = base64.b64encode(hashlib.sha256(output.read_bytes()).digest()).decode()
    assert f"CodeSha256 {digest}" in done.output
    with zipfile.ZipFile(output) as file:
        assert file.read("handler.py").decode() == bundle()


def test_a_file_that_cannot_be_written_is_a_problem_and_no_traceback(tmp_path):
    done = run("build", "--output", str(tmp_path / "none" / "dist.zip"))
    assert done.exit_code == 1
    assert "could not be written (No such file or directory)" in done.output


def test_redrive_says_what_it_could_not_reach():
    place = ("--aws-endpoint-url", "http://127.0.0.1:1")
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_MAX_ATTEMPTS": "1"}
    done = run("redrive", *place, **keys)
    assert done.exit_code == 1
    assert "queue llm-audit-dlq: Could not connect to the endpoint URL" in done.output
