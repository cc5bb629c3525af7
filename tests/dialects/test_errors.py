"""The server's errors, in each of their shapes."""

from __future__ import annotations

import json

import pytest

from llm_audit.dialects.errors import MESSAGE_LIMIT, error_in_document, error_in_reply
from llm_audit.record.schema import ErrorInfo

SHAPES = [
    (
        400,
        {"error": {"message": "m", "type": "BadRequestError", "param": None, "code": 400}},
        "BadRequestError",
        "m",
    ),
    (404, {"type": "error", "error": {"type": "NotFoundError", "message": "m"}}, "NotFoundError", "m"),
    (404, {"detail": "Not Found"}, "http_404", "Not Found"),
    (401, {"error": "Unauthorized"}, "http_401", "Unauthorized"),
    (
        400,
        {"object": "error", "message": "m", "type": "BadRequestError", "code": 400},
        "BadRequestError",
        "m",
    ),
    (400, {"message": "m", "id": "x"}, "http_400", "m"),
    (422, {"detail": [{"loc": ["body", 3, "x"], "msg": "bad", "type": "t"}]}, "http_422", "body.3.x: bad"),
    (422, {"detail": {"reason": 1}}, "http_422", '{"reason":1}'),
    (500, {"error": {"code": "server_error", "message": "m"}}, "server_error", "m"),
    (500, {"error": {"reason": "odd"}}, "http_500", '{"reason":"odd"}'),
]


@pytest.mark.parametrize(("status", "document", "kind", "message"), SHAPES)
def test_each_shape_gives_its_type_and_message(status, document, kind, message):
    assert error_in_reply(status, document, json.dumps(document).encode()) == ErrorInfo(kind, message)


def test_plain_text_is_the_message():
    assert error_in_reply(500, None, b"Internal Server Error") == ErrorInfo(
        "http_500", "Internal Server Error"
    )


def test_an_empty_body_leaves_the_status_as_the_type():
    assert error_in_reply(403, None, b"") == ErrorInfo("http_403", "")


def test_json_of_no_known_shape_is_given_as_it_came():
    assert error_in_reply(400, ["odd"], b'["odd"]') == ErrorInfo("http_400", '["odd"]')


@pytest.mark.parametrize(
    "document", [None, {"choices": []}, {"error": None}, {"error": "x"}, {"detail": "x"}]
)
def test_a_good_status_is_no_error_unless_the_body_says_so(document):
    assert error_in_reply(200, document, b"x") is None


def test_a_good_status_with_an_error_object_is_an_error():
    assert error_in_reply(200, {"error": {"message": "m"}}, b"") == ErrorInfo("error", "m")


def test_a_message_is_cut_and_bytes_that_are_no_text_are_replaced():
    found = error_in_reply(500, None, b"\xff" * 10_000)
    assert found.message == "\ufffd" * MESSAGE_LIMIT


def test_an_error_event_of_responses_names_its_code():
    event = {"type": "error", "code": "server_error", "message": "m", "param": None, "sequence_number": 3}
    assert error_in_document(event) == ErrorInfo("server_error", "m")
