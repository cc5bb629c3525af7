"""Rows of a part of a run: what a good call must have is looked for, each thing by itself."""

import hashlib

import pytest

from faults.clients import Call, Ledger
from faults.objects import Objects
from faults.parts import good_row

ID = "0b0e7a3c-4f3e-4c55-9f0e-3a1d2c4b5a69"
OTHER = "7d6c5b4a-0000-4000-8000-000000000001"
HEAD = b"HTTP/1.1 200 OK\r\nx-request-id: " + ID.encode() + b"\r\ncontent-length: 45\r\n\r\n"


def answer(request_id):
    return b'{"id":"%b"}' % request_id.encode()


def call(**changes):
    made = Call(ID, b"ask", 200, HEAD, answer(ID), ended=True)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def part(body):
    return {"bodyText": body.decode(), "sha256": hashlib.sha256(body).hexdigest()}


def record(answered, outcome="complete"):
    asked = {"path": "/x", **part(b"ask")}
    return {
        "outcome": outcome,
        "statusCode": 200,
        "error": None,
        "request": asked,
        "response": part(answered),
    }


def findings(one, *records):
    return good_row("good", Ledger([one]), Objects({ID: list(records)})).findings


def test_a_good_call_with_its_own_whole_answer_on_record_once_is_as_promised():
    assert findings(call(), record(answer(ID))) == ()


@pytest.mark.parametrize(
    ("one", "records", "found"),
    [
        (call(content=answer(OTHER)), [record(answer(OTHER))], "another call's answer"),
        (call(), [], "not on record"),
        (call(), [record(answer(ID)), record(answer(ID))], "recorded twice"),
        (call(ended=False), [record(answer(ID))], "a good call was harmed: 200, cut"),
        (call(), [record(answer(ID), "upstream_error")], "a good call is recorded as upstream_error"),
        (call(), [record(answer(OTHER))], "received bytes that are not recorded"),
    ],
)
def test_what_a_good_call_lacks_is_a_finding(one, records, found):
    assert f"1 x {found}" in findings(one, *records)
