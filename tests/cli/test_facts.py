"""Facts of a record: what it has is said, what it lacks is not, and nothing strange raises."""

from __future__ import annotations

import json

from calls import record
from llm_audit.cli.facts import facts_of
from llm_audit.record.encoding import encode_record


def test_a_record_says_who_called_what_and_how_it_ended():
    facts = dict(facts_of(json.loads(encode_record(record(1)))))
    assert facts["caller"] == "billing · ada · ask"
    assert facts["took"] == "120 ms · first chunk 40 ms"
    assert facts["model"] == "demo · served as demo-1"
    assert facts["finish"] == "stop"
    assert facts["response"] == "64 B · application/json"
    assert "error" not in facts


def test_what_is_missing_is_left_out():
    assert dict(facts_of({})) == {"caller": "- · - · -"}
    assert dict(facts_of({"statusCode": 0, "outcome": "", "user": "ada"})) == {
        "caller": "- · ada · -",
        "ended": "status 0",
    }


def test_members_of_another_shape_are_shown_as_they_are():
    strange = {"latencyMs": "long", "client": [1], "finishReasons": {"a": 1}, "request": {"bytes": None}}
    assert dict(facts_of(strange)) == {
        "caller": "- · - · -",
        "took": "long",
        "finish": "{'a': 1}",
    }
