"""Whole exchanges: every capture against a table that was checked by hand, twins, and cuts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import Message
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response

from captures_loader import all_captures, capture
from dialects_exchanges import check, interpret_capture, interpret_json, interpret_stream
from llm_audit.dialects.event_stream import events
from llm_audit.dialects.interpret import interpret

EXPECTED = json.loads(Path(__file__).with_name("expected_fields.json").read_text(encoding="utf-8"))

TWINS = {
    "chat-stream": "chat-nonstream",
    "chat-stream-usage": "chat-nonstream",
    "chat-stream-continuous-usage": "chat-nonstream",
    "chat-stream-length": "chat-nonstream-length",
    "chat-stream-logprobs": "chat-nonstream-logprobs",
    "chat-stream-n2-usage": "chat-nonstream-n2",
    "chat-stream-unicode": "chat-nonstream-unicode",
    "chat-stream-cut-mid-utf8-length": "chat-nonstream-cut-mid-utf8-length",
    "chat-tools-auto-stream": "chat-tools-auto",
    "chat-tools-auto-forced-markup-stream": "chat-tools-auto-forced-markup",
    "completion-stream": "completion-nonstream",
    "completion-stream-usage": "completion-nonstream",
    "completion-multi-prompt-stream": "completion-multi-prompt",
    "request-http10-stream": "request-http10",
    "messages-stream": "messages-nonstream",
    "messages-tools-stream": "messages-tools",
    "responses-stream": "responses-nonstream",
}


@pytest.mark.parametrize("one", all_captures(), ids=lambda one: one.id)
def test_every_capture_gives_the_fields_of_the_table(one):
    found = interpret_capture(one, preview_chars=80)
    usage = found.usage
    assert {
        "operation": found.operation,
        "model": [found.model.requested, found.model.served],
        "usage": [
            usage.input_tokens,
            usage.output_tokens,
            usage.total_tokens,
            usage.cached_input_tokens,
            usage.reasoning_tokens,
        ],
        "finishReasons": list(found.finish_reasons),
        "stream": found.stream,
        "prompt": found.prompt_preview,
        "response": found.response_preview,
        "assembled": found.assembled is not None,
        "error": None if found.error is None else [found.error.type, found.error.message[:60]],
    } == EXPECTED[one.id]


def test_the_table_speaks_of_every_capture_and_of_nothing_else():
    assert EXPECTED.keys() == {one.id for one in all_captures()}


def substance(value: Any) -> Any:
    """Leave out what differs from call to call, and what only says that there is nothing."""
    varying = {"id", "call_id", "created", "created_at", "system_fingerprint"}
    if isinstance(value, dict):
        return {
            key: substance(item)
            for key, item in value.items()
            if key not in varying and item not in (None, "", [], {}) and not key.endswith("_details")
        }
    return [substance(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("stream", "whole"), TWINS.items(), ids=TWINS.keys())
def test_an_assembled_stream_says_what_its_twin_in_one_piece_says(stream, whole):
    assembled = substance(interpret_capture(capture(stream)).assembled)
    twin = substance(json.loads(capture(whole).response.body))
    if "usage" not in assembled:
        # Chat streams tell usage only where they are asked to.
        twin.pop("usage")
    assert assembled == twin


def test_an_assembled_transcript_says_what_its_twin_says():
    assembled = interpret_capture(capture("transcription-stream-with-prompt")).assembled
    twin = json.loads(capture("transcription-with-prompt").response.body)
    assert assembled["text"] == twin["text"]


SHAPES = {"chat.completion": ChatCompletion, "text_completion": Completion, "response": Response}


@pytest.mark.parametrize("name", TWINS)
def test_the_real_clients_take_an_assembled_stream_for_a_reply_in_one_piece(name):
    assembled = interpret_capture(capture(name)).assembled
    shape = SHAPES.get(assembled.get("object"), Message)
    read = shape.model_validate(assembled)
    assert read.model == "smollm2-135m-instruct"


@pytest.mark.parametrize("name", [name for name in TWINS if name.startswith(("chat", "request"))])
def test_the_real_client_adds_the_same_chat_stream_up_to_the_same_reply(name):
    one = capture(name)
    state = ChatCompletionStreamState()
    for _, data in events(one.response.body):
        if data != b"[DONE]":
            state.handle_chunk(ChatCompletionChunk.model_validate_json(data))
    theirs = state.current_completion_snapshot.model_dump(mode="json")
    ours = interpret_capture(one).assembled
    for told, choice in zip(theirs["choices"], ours["choices"], strict=True):
        message = choice["message"]
        assert (told["message"]["content"] or "") == message["content"]
        assert told["finish_reason"] == choice["finish_reason"]
        calls = told["message"].get("tool_calls") or []
        assert [call["function"]["arguments"] for call in calls] == [
            call["function"]["arguments"] for call in message.get("tool_calls", [])
        ]


STREAMS = [one for one in all_captures() if one.response and b"data:" in one.response.body[:200]]


@pytest.mark.parametrize("one", STREAMS, ids=lambda one: one.name)
def test_a_stream_that_is_cut_anywhere_is_taken_and_gives_no_reason_that_did_not_come(one):
    body = one.response.body
    reasons = interpret_capture(one).finish_reasons
    for end in range(0, len(body), 61):
        cut = interpret_capture(one, body=body[:end])
        check(cut, 2048)
        assert cut.stream
        assert cut.finish_reasons == reasons[: len(cut.finish_reasons)]
    assert interpret_capture(one, body=body[:100]).finish_reasons == ()


@pytest.mark.parametrize("name", ["chat-stream", "completion-stream", "messages-stream", "responses-stream"])
def test_a_stream_that_is_cut_at_any_byte_gives_the_text_that_came(name):
    one = capture(name)
    body, whole = one.response.body, interpret_capture(one).response_preview
    said = [interpret_capture(one, body=body[:end]).response_preview or "" for end in range(len(body))]
    assert all(whole.startswith(text) for text in said)
    assert [len(text) for text in said] == sorted(len(text) for text in said)
    assert said[-1] == whole


def test_a_stream_of_comments_alone_is_a_stream_that_says_nothing():
    found = interpret_stream("/v1/chat/completions", {"model": "m"}, b": keep-alive\n\n" * 3)
    assert found.stream
    assert found.assembled is None
    assert found.response_preview is None


def test_keep_alives_in_a_stream_change_nothing():
    one = capture("chat-stream-usage")
    noisy = one.response.body.replace(b"\n\n", b"\n\n: keep-alive\n\n")
    assert interpret_capture(one, body=noisy) == interpret_capture(one)


@pytest.mark.parametrize("line_end", [b"\r", b"\r\n"])
def test_a_stream_with_other_line_ends_says_the_same(line_end):
    one = capture("responses-stream")
    assert interpret_capture(one, body=one.response.body.replace(b"\n", line_end)) == interpret_capture(one)


def test_an_error_in_the_middle_of_a_stream_is_told_beside_what_came_before_it():
    body = capture("chat-stream").response.body
    half = body[: body.index(b"data: ", 900)]
    error = b'data: {"error": {"message": "engine died", "type": "InternalServerError", "code": 500}}\n\n'
    found = interpret_stream("/v1/chat/completions", {}, half + error + b"data: [DONE]\n\n")
    assert (found.error.type, found.error.message) == ("InternalServerError", "engine died")
    assert found.response_preview
    assert found.assembled["error"]["code"] == 500
    assert found.finish_reasons == ()


def test_a_gzipped_reply_is_read():
    one = capture("chat-nonstream")
    found = interpret(
        path="/v1/chat/completions",
        request_content_type="application/json",
        request_body=one.request.body,
        status=200,
        response_content_type="application/json",
        response_encoding="gzip",
        response_body=gzip.compress(one.response.body),
        preview_chars=2048,
    )
    assert found == interpret_capture(one)


def test_a_gzipped_stream_that_was_cut_gives_what_came():
    one = capture("chat-stream")
    packed = gzip.compress(one.response.body)
    found = interpret(
        path="/v1/chat/completions",
        request_content_type="application/json",
        request_body=one.request.body,
        status=200,
        response_content_type="text/event-stream",
        response_encoding="gzip",
        response_body=packed[: len(packed) * 3 // 4],
        preview_chars=2048,
    )
    assert found.response_preview
    assert "The capital of France is Paris.".startswith(found.response_preview)


def test_a_query_in_the_path_is_not_part_of_it():
    found = interpret_json("/v1/completions", {"prompt": "x"}, b"")
    assert found.operation == "text_completion"
    full = interpret(
        path="/v1/completions?beta=true",
        request_content_type=None,
        request_body=b'{"prompt": "x"}',
        status=None,
        response_content_type=None,
        response_encoding=None,
        response_body=b"",
        preview_chars=10,
    )
    assert full == found


def test_a_reply_of_text_is_previewed_as_it_is():
    one = capture("transcription-json")
    found = interpret(
        path=one.target,
        request_content_type=one.request.header("content-type"),
        request_body=one.request.body,
        status=200,
        response_content_type="text/plain; charset=utf-8",
        response_encoding=None,
        response_body="1\n00:00 --> 00:01\nnaïve".encode(),
        preview_chars=2048,
    )
    assert found.response_preview == "1\n00:00 --> 00:01\nnaïve"


def test_what_defeats_the_readers_is_still_given_its_operation():
    found = interpret(
        path="/v1/messages",
        request_content_type=None,
        request_body=b"",
        status=200,
        response_content_type="text/event-stream",
        response_encoding=None,
        response_body=None,
        preview_chars=10,
    )
    assert (found.operation, found.stream, found.assembled) == ("chat", True, None)
