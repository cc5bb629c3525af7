"""``tail``: a real process that follows a real index."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from calls import item, record, request_id
from llm_audit.cli.commands.tail import line_of
from recorded import Recorded


@pytest.fixture
def recorded(tmp_path):
    return Recorded(tmp_path)


@pytest.fixture
def follow(recorded):
    """Start ``tail`` with flags; it is ended with the test."""
    started = []

    def start(*flags):
        command = [sys.executable, "-m", "llm_audit", *recorded.arguments("tail", *flags)]
        environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_calls_come_as_they_are_recorded_and_ctrl_c_ends_it_well(recorded, follow):
    recorded.keep([record(n) for n in range(3)])
    process = follow("--json", "-n", "2")
    seen = [json.loads(process.stdout.readline())["requestId"] for _ in range(2)]
    assert seen == [request_id(1), request_id(2)]
    recorded.keep([record(7), record(5)])
    assert [json.loads(process.stdout.readline())["requestId"] for _ in range(2)] == [
        request_id(7),
        request_id(5),
    ]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (0, "", "")


def test_filters_hold_for_what_was_there_and_for_what_comes(recorded, follow):
    recorded.keep([record(0, source="search"), record(1)])
    process = follow("--json", "--source", "search")
    assert json.loads(process.stdout.readline())["requestId"] == request_id(0)
    recorded.keep([record(2), record(3, source="search")])
    assert json.loads(process.stdout.readline())["requestId"] == request_id(3)


def test_it_waits_for_an_index_that_does_not_exist_yet(recorded, follow):
    process = follow("--json")
    assert process.stderr.readline().startswith("waiting: there is no index")
    recorded.keep([record(4)])
    assert json.loads(process.stdout.readline())["requestId"] == request_id(4)


def test_a_line_is_harmless_and_holds_what_matters():
    one = item(1, prompt_preview="a\x1bb\nc", user="ada", latency_ms=61_000)
    assert line_of(one) == (
        f"2026-11-24 12:00:00  billing  ada  ask  demo-1  200  1 min 1 s  12→30  {request_id(1)}  a\\x1bb c"
    )
