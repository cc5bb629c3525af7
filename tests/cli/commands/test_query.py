"""``query`` as it is used: filters in, tables or JSON lines out, exit codes as promised."""

from __future__ import annotations

import json

import pytest

from calls import record, request_id
from llm_audit.record.schema import Outcome
from recorded import Recorded


@pytest.fixture
def recorded(tmp_path):
    one = Recorded(tmp_path)
    one.keep(
        [
            record(1, user="ada"),
            record(2, source="search", user="bob", status_code=500, latency_ms=9000),
            record(3, source=None, user=None, status_code=403, outcome=Outcome.REJECTED, response=None),
        ]
    )
    return one


def found(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line)["requestId"] for line in result.stdout.splitlines()]


def test_without_filters_all_calls_come_newest_first(recorded):
    assert found(recorded.run("query", "--json")) == [request_id(n) for n in (3, 2, 1)]


@pytest.mark.parametrize(
    ("flags", "numbers"),
    [
        (["--source", "search"], [2]),
        (["--source", "-"], [3]),
        (["--user", "ada"], [1]),
        (["--status", "500"], [2]),
        (["--outcome", "rejected"], [3]),
        (["--request-type", "ask", "--status", "200"], [1]),
        (["--model", "demo-1", "--user", "bob"], [2]),
        (["--min-latency-ms", "5000"], [2]),
        (["--text", "hello", "--user", "ada"], [1]),
        (["--since", "2026-11-24T12:00:00.002Z"], [3, 2]),
        (["--until", "2026-11-24T12:00:00.002Z"], [1]),
        (["--sort", "latency", "--limit", "1"], [2]),
        (["--source", "nobody"], []),
    ],
    ids=str,
)
def test_each_filter_narrows_the_list(recorded, flags, numbers):
    assert found(recorded.run("query", "--json", *flags)) == [request_id(number) for number in numbers]


def test_a_json_line_has_the_items_names(recorded):
    line = json.loads(recorded.run("query", "--json", "--user", "ada").stdout)
    assert line["id"] == "project#billing"
    assert (line["latencyMs"], line["statusCode"], line["finishReasons"]) == (120, 200, ["stop"])
    assert line["auditObjectKey"] == f"logs/2026/11/24/{request_id(1)}.json"


def test_a_table_shows_what_people_look_for(recorded):
    text = recorded.run("query").stdout
    for word in (
        "time (UTC)",
        "2026-11-24 12:00:00",
        "billing",
        "9.00 s",
        "403 rejected",
        "12→30",
        "user: Hi",
    ):
        assert word in text
    assert request_id(2) in text
    assert text.endswith("\n3 calls, newest first\n")


def test_under_the_table_stands_what_it_holds(recorded):
    some = recorded.run("query", "--source", "search", "--sort", "latency").stdout
    assert some.endswith("\n1 call of source search, slowest first\n")
    assert recorded.run("query", "--user", "x").stdout == "no calls of user x, newest first\n"


def test_a_list_goes_on_where_its_cursor_says(recorded):
    first = recorded.run("query", "--json", "--limit", "2")
    assert found(first) == [request_id(3), request_id(2)]
    cursor = first.stderr.split("--cursor ")[1].strip()
    rest = recorded.run("query", "--json", "--cursor", cursor)
    assert found(rest) == [request_id(1)]
    assert rest.stderr == ""


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--status", "ok"], "expected a status code"),
        (["--since", "yesterday"], "is no time"),
        (["--outcome", "fine"], "expected one of complete"),
        (["--cursor", "x"], "is no cursor"),
        (["--limit", "0"], "--limit"),
        (["--sort", "colour"], "--sort"),
        (["--user", ""], "user is empty"),
        (["--index", "dynamodb://T", "--bucket", "bucket"], "sqlite"),
    ],
    ids=str,
)
def test_wrong_usage_is_said_in_a_line_and_exits_with_2(recorded, flags, expected):
    result = recorded.run("query", *flags)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert result.stdout == ""


def test_without_an_index_the_command_says_what_to_do_and_exits_with_1(tmp_path):
    result = Recorded(tmp_path / "none").run("query")
    assert result.exit_code == 1
    assert "llm-audit serve" in result.stderr
    assert not (tmp_path / "none").exists()


def test_hostile_text_reaches_no_terminal(tmp_path):
    recorded = Recorded(tmp_path)
    hostile = "\x1b[2J\x1b]0;owned\x07 \u202egnp.exe [red]x[/red] \x9b31m\r\n:smile: A"
    recorded.keep([record(1, prompt_preview=hostile, user="a\u202eb")])
    text = recorded.run("query", environ={"COLUMNS": "300"}).stdout
    assert not {"\x1b", "\x07", "\x9b", "\u202e", "\r"} & set(text)
    assert r"\x1b[2J\x1b]0;owned\x07 \u202egnp.exe [red]x[/red] \x9b31m :smile: A" in text
    assert r"a\u202eb" in text
    assert recorded.run("query", "--json").stdout.isascii()
