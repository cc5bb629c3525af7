"""Transcripts: every shape of body becomes something that a person can read, and none raises."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures_loader import all_captures
from llm_audit.query.transcript import Turn, body_bytes, transcript


def read(request=None, response=None, **members):
    """Give the transcript of a document with these bodies as JSON."""
    document = {"request": {"bodyText": json.dumps(request)}, "response": {"bodyText": json.dumps(response)}}
    return transcript({**document, **members})


def asked(request):
    return [(turn.role, turn.text) for turn in read(request).asked]


def answered(response):
    return [(turn.role, turn.text) for turn in read({}, response).answered]


def test_a_chat_is_its_messages_in_order():
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url"}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "look", "arguments": '{"at":1}'}}]},
        {"role": "tool", "content": "a cat"},
    ]
    tools = [{"type": "function", "function": {"name": "look"}}, {"type": "web_search"}]
    assert asked({"messages": messages, "tools": tools}) == [
        ("system", "Be brief."),
        ("user", "What is this?\n[image, 21 characters of JSON]"),
        ("assistant (calls)", 'look({"at":1})'),
        ("tool", "a cat"),
        ("tools", "look, web_search"),
    ]


def test_every_choice_of_a_reply_is_shown_with_its_reasoning_and_calls():
    first = {"role": "assistant", "reasoning": "hm", "content": "A"}
    second = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}
    assert answered({"choices": [{"message": first}, {"message": second}, {"text": "C"}]}) == [
        ("assistant (reasoning)", "hm"),
        ("assistant", "A"),
        ("assistant (calls)", 'f({"x": 1})'),
        ("completion", "C"),
    ]


def test_a_completion_shows_its_prompts():
    assert asked({"prompt": ["one", "two"]}) == [("prompt", "one\ntwo")]
    assert asked({"prompt": [1, 2, 3]}) == [("prompt", "[1, 2, 3]")]


def test_responses_are_read_from_input_and_output():
    assert asked({"instructions": "Be kind.", "input": "Hi"}) == [("system", "Be kind."), ("user", "Hi")]
    given = [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]
    assert asked({"input": given}) == [("user", "Hi")]
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "think"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
    ]
    assert answered({"output": output}) == [
        ("reasoning (reasoning)", "think"),
        ("assistant", "Hello"),
        ("function_call (calls)", "f({})"),
    ]


def test_anthropic_messages_are_read_from_their_blocks():
    assert asked(
        {"system": [{"type": "text", "text": "S"}], "messages": [{"role": "user", "content": "U"}]}
    ) == [
        ("system", "S"),
        ("user", "U"),
    ]
    blocks = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "Yes"},
        {"type": "tool_use", "name": "f", "input": {"a": 1}},
    ]
    assert answered({"role": "assistant", "content": blocks}) == [
        ("assistant", 'hm\nYes\n[calls f({"a": 1})]')
    ]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"error": {"type": "BadRequest", "message": "no"}}, "BadRequest: no"),
        ({"object": "error", "type": "NotFound", "message": "no"}, "NotFound: no"),
        ({"error": "Not Found"}, "Not Found"),
        ({"detail": "Not Found"}, "Not Found"),
    ],
)
def test_an_error_is_shown_as_one(reply, expected):
    assert answered(reply) == [("error", expected)]


def test_embeddings_are_counted_not_printed():
    assert answered({"object": "list", "data": [{"embedding": [0.1] * 500}] * 2}) == [
        ("list", "[2 results, see --json]")
    ]


def test_a_stream_is_shown_as_what_was_assembled_from_it():
    assembled = {"choices": [{"message": {"role": "assistant", "content": "whole"}}]}
    said = transcript({"response": {"bodyText": "data: {}\n\n", "assembled": assembled}})
    assert said.answered == (Turn("assistant", "whole"),)


def test_a_text_of_no_known_shape_is_shown_as_it_is():
    said = transcript({"request": {"bodyText": "not { json"}, "response": {"bodyText": "<html>"}})
    assert (said.asked, said.answered) == ((Turn("request", "not { json"),), (Turn("reply", "<html>"),))


def test_where_no_body_is_kept_the_previews_stand_in():
    said = transcript({"promptPreview": "user: Hi", "request": {"bytes": 5}, "response": None})
    assert (said.asked, said.answered) == ((Turn("request (preview)", "user: Hi"),), ())


def test_a_body_that_is_no_text_is_named_by_size_and_type():
    part = {"bodyBase64": base64.b64encode(b"\xff" * 10).decode(), "contentType": "audio/wav"}
    assert transcript({"request": part}).asked == (Turn("request", "[10 bytes of audio/wav]"),)


def test_bodies_are_given_back_exactly():
    assert body_bytes({"bodyText": "é\ufeff"}) == "é\ufeff".encode()
    assert body_bytes({"bodyBase64": "/w=="}) == b"\xff"
    assert [body_bytes(part) for part in ({}, None, 5, {"bodyBase64": "!"})] == [None, None, None, None]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                """messages role content tool_calls function name arguments input output choices message text type
                error detail data system prompt summary tools object query reasoning""".split()  # noqa: SIM905
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(values, values)
def test_no_body_of_whatever_shape_raises(request, response):
    for part in (*read(request, response).asked, *read(request, response).answered):
        assert isinstance(part.text, str)


@given(values)
def test_no_document_of_whatever_shape_raises(value):
    document = {"request": value, "response": value, "promptPreview": value}
    for turn in transcript(document).asked:
        assert isinstance(turn.role, str)


def test_every_capture_of_a_real_model_server_reads_as_asked_and_answered():
    unread = []
    for capture in all_captures():
        response = capture.response
        document = {
            "request": {"bodyText": capture.request.body.decode("utf-8", "replace")},
            "response": {"bodyText": response.body.decode("utf-8", "replace")} if response else None,
        }
        said = transcript(document)
        if (capture.request.body and not said.asked) or (response and response.body and not said.answered):
            unread.append(capture.id)
    assert unread == []
