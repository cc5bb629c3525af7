"""``doctor``: one line for each finding, exit 1 on a problem."""

from __future__ import annotations

import json
import socket

import pytest

from recorded import Recorded


@pytest.fixture
def silent():
    """Hold an address where nothing listens for as long as the test runs."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


def test_a_problem_is_said_with_what_to_do_and_exits_with_1(tmp_path, silent):
    result = Recorded(tmp_path / "data").run("doctor", "--listen", "127.0.0.1:0", "--upstream", silent)
    assert result.exit_code == 1
    assert f"problem  the model server {silent} does not answer" in result.stdout
    assert "→ start the model server, or set AUDIT_UPSTREAM" in result.stdout
    assert "ok       llm-audit" in result.stdout
    assert "problem" in result.stderr


def test_json_lines_name_check_and_finding(tmp_path, silent):
    result = Recorded(tmp_path / "data").run("doctor", "--json", "--upstream", silent)
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert {line["check"] for line in found} >= {"versions", "folders", "store", "index", "upstream"}
    assert [line["check"] for line in found if not line["ok"] and "advice" in line].count("upstream") == 1


def test_a_wrong_setting_is_wrong_usage(tmp_path):
    assert Recorded(tmp_path).run("doctor", "--workers", "none").exit_code == 2
