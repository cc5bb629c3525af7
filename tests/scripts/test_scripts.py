"""What holds for every script: the linter's view, its own words, and that a wrong option is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "scripts").glob("*.sh"))


def test_the_scripts_that_the_requirement_names_are_there():
    assert {path.name for path in SCRIPTS} >= {"ecs-host-logs.sh", "launch-prod-ecr.sh"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_linter_finds_nothing(script):
    program = Path(sys.executable).parent / "shellcheck"
    ran = subprocess.run([program, script], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.returncode) == ("", 0)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_can_be_run_and_stops_at_the_first_error(script):
    assert script.stat().st_mode & 0o111 == 0o111
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines[:4]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_help_explains_every_option(script):
    ran = subprocess.run([script, "--help"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"Usage: {script.name} ")
    body = script.read_text()
    options = {word.strip("|)\\") for word in body.split() if word.startswith("--")}
    taken = {option for option in options if f"    {option})" in body or f"{option} |" in body}
    assert {option for option in taken if option not in ran.stdout} == set()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_an_unknown_option_and_one_without_its_value_are_refused(script):
    for words, said in (
        (["--frobnicate"], "no option"),
        (["--region" if "ecs" in script.name else "--image"], "value"),
    ):
        ran = subprocess.run([script, *words], capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
        assert said in ran.stderr
