"""Runs every example of docs/callers.md, as it stands there, and compares what it prints."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.served import Served, free_port, serve_command

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/callers.md"
CALLERS = ROOT / ".venv/callers"
"""Where `make test` puts the clients that are not in the dev environment."""

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{32}\b")
URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Example:
    heading: str
    language: str
    code: str
    printed: str

    def __str__(self):
        return re.sub(r"\W+", "-", f"{self.heading}-{self.code.count(chr(10))}-lines")


def examples():
    page = PAGE.read_text()
    blocks = list(BLOCK.finditer(page))
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        if block[1] != "text":
            heading = [found[1] for found in HEADING.finditer(page, 0, block.start())][-1]
            assert following is not None, f"the last example, under {heading}, shows no output"
            assert following[1] == "text", f"an example under {heading} shows no output"
            yield Example(heading, block[1], block[2], following[2])


EXAMPLES = list(examples())


def interpreter(example):
    """Give the program that runs the example's language with its client, or skip."""
    if example.language == "bash":
        return (
            [shutil.which("bash"), "-euo", "pipefail"]
            if shutil.which("curl")
            else pytest.skip("no curl here")
        )
    if example.language == "javascript":
        if not (CALLERS / "javascript-installed").exists():
            pytest.skip("the JavaScript client is not installed: `make test` installs it where npm works")
        return [shutil.which("node")]
    if "langchain" in example.code:
        if not (CALLERS / "langchain-installed").exists():
            pytest.skip("LangChain is not installed: `make test` installs it where pip reaches it")
        return [str(CALLERS / "python/bin/python")]
    return [sys.executable]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("served"), serve_command(free_port()))
    try:
        yield f"http://{served.ready().status()['listen']}"
    finally:
        served.end()


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_prints_what_the_page_shows(example, url, tmp_path):
    program = interpreter(example)
    assert URL in example.code
    script = (
        tmp_path
        / {"bash": "example.sh", "javascript": "example.mjs", "python": "example.py"}[example.language]
    )
    script.write_text(example.code.replace(URL, url))
    if example.language == "javascript":
        (tmp_path / "node_modules").symlink_to(CALLERS / "node_modules")
    quiet = {"LANGSMITH_TRACING": "false"}
    ran = subprocess.run(
        [*program, str(script)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | quiet,
    )
    assert (ran.stderr, ran.returncode) == ("", 0)
    assert UUID.sub("<id>", ran.stdout) == UUID.sub("<id>", example.printed)


def test_the_page_names_the_codes_that_the_proxy_answers_with():
    package = ROOT / "src/llm_audit"
    files = [*sorted((package / "proxy").glob("*.py")), package / "record/identity.py"]
    sources = "".join(path.read_text() for path in files)
    table = PAGE.read_text().partition("## Errors")[2].partition("**Retries.**")[0]
    named = set(re.findall(r"`([a-z]+_[a-z_]+|draining)`", table))
    answered = set(re.findall(r'Refusal\(\s*\d+,\s*"(\w+)"|_refusal\(\s*\d+,\s*"(\w+)"', sources))
    assert {name for pair in answered for name in pair if name} <= named
    assert {name for name in named if f'"{name}"' not in sources} == set()


def test_the_page_shows_every_client_that_it_promises():
    shown = {
        (example.language, client) for example in EXAMPLES for client in re.findall(r"\b\w+\b", example.code)
    }
    assert {
        ("bash", "curl"),
        ("python", "OpenAI"),
        ("python", "AsyncOpenAI"),
        ("python", "Anthropic"),
        ("python", "ChatOpenAI"),
        ("javascript", "OpenAI"),
    } <= shown
