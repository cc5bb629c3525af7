"""The image as far as it can be judged without Docker: the linter's view, and what must hold of the file."""

import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "docker/ecr-build/Dockerfile"
TEXT = re.sub(r"\s*\\\n\s*", " ", re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE))
STAGES = [re.findall(r"^([A-Z]+) (.+)$", stage, re.MULTILINE) for stage in re.split(r"(?m)^(?=FROM )", TEXT)]
LAST = STAGES[-1]


def of(name, stage=LAST):
    return [value for instruction, value in stage if instruction == name]


def hadolint(text):
    program = Path(sys.executable).parent / "hadolint"
    return subprocess.run(
        [program, "--failure-threshold", "style", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_linter_finds_nothing():
    ran = hadolint(DOCKERFILE.read_text())
    assert (ran.stdout, ran.returncode) == ("", 0)


def test_the_linter_would_find_something():
    assert "DL3007" in hadolint("FROM ubuntu:latest\n").stdout


def test_the_base_image_is_pinned_by_digest_and_both_stages_use_it():
    (argument,) = [value for _, value in STAGES[0]]
    assert re.fullmatch(r"VLLM_IMAGE=vllm/vllm-openai:v[0-9.]+@sha256:[0-9a-f]{64}", argument)
    assert [of("FROM", stage)[0].split()[0] for stage in STAGES[1:]] == ["${VLLM_IMAGE}"] * 2


def test_every_package_is_installed_by_its_hash_or_from_this_repository():
    installs = re.findall(r"pip (?:install|wheel) ([^&\n]+)", TEXT)
    assert len(installs) == 4
    assert all(
        "--require-hashes" in words or {"--no-index", "--no-deps"} <= set(words.split()) for words in installs
    )
    locked = (ROOT / "requirements/runtime.txt").read_text()
    names = re.findall(r"^([a-z0-9-]+)==", locked, re.MULTILINE)
    assert locked.count("--hash=") >= len(names) > 0
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {re.split(r"[>=<]", wanted)[0] for wanted in project["dependencies"]} <= set(names)


def test_the_container_is_not_root_and_its_journal_is_a_volume_of_its_user():
    assert of("USER") == ["10001:10001"]
    assert of("VOLUME") == ['["/var/lib/llm-audit"]']
    assert "AUDIT_DATA_DIR=/var/lib/llm-audit" in of("ENV")[0]
    assert "install --directory --mode 0700 --owner 10001 --group 10001 /var/lib/llm-audit" in of("RUN")[0]


def test_the_entry_point_gets_the_signals():
    (entry,) = of("ENTRYPOINT")
    assert entry == '["/opt/llm-audit/bin/python", "/app/audit_proxy.py"]'  # no shell between
    assert of("STOPSIGNAL") == ["SIGTERM"]
    assert "CMD" not in [instruction for instruction, _ in LAST]


def test_only_the_proxys_port_is_exposed_and_its_health_is_checked():
    assert of("EXPOSE") == ["8000"]
    assert '["/opt/llm-audit/bin/python", "/app/health.py"]' in of("HEALTHCHECK")[0]


def test_no_secret_and_no_address_is_baked_in():
    assert not re.search(r"SECRET|PASSWORD|TOKEN|API_KEY|ACCESS_KEY|https?://|--index-url", TEXT)


@pytest.mark.parametrize("source", [words.split()[0] for stage in STAGES for words in of("COPY", stage)])
def test_what_is_copied_is_in_the_repository_and_in_the_build_context(source):
    if source.startswith("--from="):
        return
    assert (ROOT / source).exists()
    assert is_in_context(source.rstrip("/"))


def is_in_context(path):
    """Docker's rule: the last line that matches a path, or a folder above it, decides."""
    is_kept = True
    for line in DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").rstrip("/")
        if not line or line.startswith("#"):
            continue
        parts = path.split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        wildcard = pattern.removeprefix("**/")
        if any(fnmatch.fnmatch(one, pattern) for one in above) or (
            pattern != wildcard and any(fnmatch.fnmatch(part, wildcard) for part in parts)
        ):
            is_kept = line.startswith("!")
    return is_kept


@pytest.mark.parametrize(
    "path", [".git/config", "data/journal", ".env", "tests/calls.py", "src/llm_audit/__pycache__/x"]
)
def test_nothing_else_is_sent_to_the_builder(path):
    assert not is_in_context(path)
