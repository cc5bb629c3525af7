"""``show``: one call, found by id, readable, exact, and checked against the index."""

from __future__ import annotations

import json

import pytest

from calls import key_of, record, request_id
from llm_audit.integrity.access_log_file import AccessLog
from llm_audit.record.encoding import encode_record, sha256_hex
from llm_audit.record.schema import ErrorInfo, Outcome
from recorded import Recorded


@pytest.fixture
def recorded(tmp_path):
    one = Recorded(tmp_path)
    one.keep([record(1), record(2)])
    return one


def test_a_call_is_shown_as_facts_and_conversation(recorded):
    result = recorded.run("show", request_id(1).upper())
    assert result.exit_code == 0
    for words in (
        "billing · ada · ask",
        "key · k1",
        "120 ms · first chunk 40 ms",
        "complete · status 200",
        "in 12 · out 30",
        "w-1 · boot 3 · sequence 1",
        "user\nHi\n",
        "assistant\nHello\n",
        "as indexed · ",
        key_of(record(1)),
    ):
        assert words in result.stdout


def test_json_is_the_record_as_it_is_stored(recorded):
    assert recorded.run("show", request_id(1), "--json").stdout == encode_record(record(1)).decode() + "\n"


def test_raw_gives_the_exact_bodies_and_says_on_stderr_what_they_are(tmp_path):
    recorded = Recorded(tmp_path)
    plain = record(1)
    asked, answered = b"\xff\x00 asked", "{é\u2028}".encode()
    request = plain.request._replace(body=asked, sha256=sha256_hex(asked))
    response = plain.response._replace(body=answered, sha256="0" * 64)
    recorded.keep([plain._replace(request=request, response=response)])
    result = recorded.run("show", request_id(1), "--raw")
    assert result.stdout_bytes == asked + answered
    assert "request: 8 bytes, sha256 matches the record" in result.stderr
    assert "response: 7 bytes, sha256 DOES NOT MATCH the record" in result.stderr
    only = recorded.run("show", request_id(1), "--raw", "--part", "response")
    assert only.stdout_bytes == answered


def test_two_calls_with_one_id_are_both_shown(recorded):
    second = record(1)._replace(user="bob", started_at_ms=record(1).started_at_ms + 5000)
    recorded.keep([second], name=f"{request_id(1)}~w-1-3-9")
    lines = recorded.run("show", request_id(1), "--json").stdout.splitlines()
    assert [json.loads(line)["user"] for line in lines] == ["ada", "bob"]


def test_an_unknown_id_exits_with_1_and_says_what_to_do(recorded):
    result = recorded.run("show", "00000000-0000-4000-8000-000000000000")
    assert result.exit_code == 1
    assert "reindex" in result.stderr


def test_a_record_that_was_changed_after_indexing_is_a_problem(recorded):
    path = recorded.data_dir / "objects" / key_of(record(1))
    path.write_bytes(path.read_bytes().replace(b"Hello", b"Hullo"))
    result = recorded.run("show", request_id(1))
    assert result.exit_code == 1
    assert "NOT AS INDEXED" in result.stdout
    assert key_of(record(1)) in result.stderr


def test_a_record_that_is_gone_is_a_problem(recorded):
    (recorded.data_dir / "objects" / key_of(record(1))).unlink()
    result = recorded.run("show", request_id(1))
    assert result.exit_code == 1
    assert key_of(record(1)) in result.stderr


@pytest.mark.parametrize("days", [-1, 0, 1])
def test_a_call_that_is_not_indexed_is_found_by_the_time_in_its_id(tmp_path, days):
    recorded = Recorded(tmp_path)
    made_ms = record(1).started_at_ms + days * 86_400_000
    uuid = f"{made_ms:012x}"
    one = record(1)._replace(request_id=f"{uuid[:8]}-{uuid[8:]}-7000-8000-000000000001")
    recorded.keep([one], is_indexed=False)
    result = recorded.run("show", one.request_id)
    assert result.exit_code == 0
    assert "not indexed · " in result.stdout


def test_a_refusal_without_response_is_shown_too(tmp_path):
    recorded = Recorded(tmp_path)
    error = ErrorInfo("missing_header", "x-llm-user is missing \x1b[31m")
    recorded.keep(
        [record(1, user=None, outcome=Outcome.REJECTED, status_code=400, error=error, response=None)]
    )
    text = recorded.run("show", request_id(1)).stdout
    assert r"missing_header · x-llm-user is missing \x1b[31m" in text
    assert "rejected · status 400" in text


def test_hostile_text_in_a_body_reaches_no_terminal(tmp_path):
    recorded = Recorded(tmp_path)
    body = json.dumps({"messages": [{"role": "u\x1bser", "content": "a\x1b[2Jb\u202ec\nd\te"}]}).encode()
    plain = record(1)
    recorded.keep([plain._replace(request=plain.request._replace(body=body))])
    text = recorded.run("show", request_id(1)).stdout
    assert not {"\x1b", "\u202e"} & set(text)
    assert "u\\x1bser\na\\x1b[2Jb\\u202ec\nd" in text


@pytest.mark.parametrize("flags", [["--part", "request"], ["--raw", "--json"], []], ids=str)
def test_contradicting_flags_are_wrong_usage(recorded, flags):
    assert recorded.run("show", *(flags and [request_id(1)]), *flags).exit_code == 2


def test_that_a_call_is_shown_is_on_record_before_and_without_it_nothing_is_shown(recorded):
    log = AccessLog(recorded.data_dir / "access")
    recorded.run("show", request_id(1), "--raw")
    (entry,) = log.newest(9)
    assert (entry.action, entry.subject, entry.details["form"]) == ("content.show", request_id(1), "raw")
    assert entry.actor.startswith("os:")
    log.path.unlink()
    log.path.mkdir()
    result = recorded.run("show", request_id(1))
    assert result.exit_code == 1
    assert "nothing is shown that is not on record" in result.output
    assert "Hello" not in result.output
