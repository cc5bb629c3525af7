"""Whole exchanges: every capture against a table that was checked by hand, twins, cuts, and bad input."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import orjson
import pytest
from anthropic.types import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response

from captures_loader import all_captures, capture
from dialects_exchanges import encode, interpret_capture, interpret_json, interpret_stream, stream_of
from llm_audit.dialects.event_stream import events
from llm_audit.dialects.interpret import Answer, interpret, read_request, understand
from llm_audit.dialects.json_values import parse
from llm_audit.dialects.routes import BY_PATH

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


NAMES = st.sampled_from(
    [
        "model",
        "messages",
        "role",
        "content",
        "type",
        "text",
        "choices",
        "delta",
        "message",
        "index",
        "finish_reason",
        "usage",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "error",
        "detail",
        "code",
        "data",
        "object",
        "output",
        "input",
        "input_tokens",
        "output_tokens",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "logprobs",
        "stop_reason",
        "content_block",
        "partial_json",
        "thinking",
        "response",
        "output_index",
        "item",
        "part",
        "status",
        "incomplete_details",
        "reason",
        "results",
        "documents",
        "query",
        "document",
        "relevance_score",
        "embedding",
        "embeddings",
        "float",
        "token_ids",
        "prompt",
        "tokens",
        "count",
        "audio",
        "transcript",
        "function_call",
        "refusal",
        "reasoning",
        "items",
        "questions",
        "state",
        "answers",
        "texts",
        "inputs",
        "image_url",
        "chunk",
        "chat_request",
        "meta",
        "billed_units",
        "probs",
        "label",
        "shape",
        "system",
        "instructions",
        "summary",
        "loc",
        "msg",
    ]
)
WORDS = st.sampled_from(
    [
        "message_start",
        "message_delta",
        "content_block_start",
        "content_block_delta",
        "text_delta",
        "input_json_delta",
        "error",
        "response.completed",
        "response.output_item.added",
        "response.output_text.delta",
        "response.failed",
        "response.function_call_arguments.delta",
        "message-start",
        "content-start",
        "content-delta",
        "tool-call-start",
        "tool-call-delta",
        "message-end",
        "transcript.text.delta",
        "chat.completion",
        "text_completion",
        "tool_use",
        "thinking",
        "function_call",
        "reasoning",
        "image_url",
        "user",
        "tool",
        "list",
        "incomplete",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    WORDS,
    st.just("\ud83d"),
    st.just(10**400),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(NAMES, st.text()), inner, max_size=4)
    ),
    max_leaves=10,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=6)
PATHS = st.sampled_from(
    [*BY_PATH, "/invocations", "/v1/responses/resp_1", "/v1/responses/resp_1/cancel", "/extra"]
)


def check(found: Any, limit: int) -> None:
    """Everything derived can be written, within its bounds."""
    orjson.dumps([[[[found]]]])
    assert len(found.prompt_preview or "") <= limit
    assert len(found.response_preview or "") <= limit
    assert len(found.finish_reasons) <= 64
    short = [found.operation, found.model.requested, found.model.served, *found.finish_reasons]
    assert all(text is None or 0 < len(text) <= 256 for text in short)
    counts = [getattr(found.usage, name) for name in found.usage.__slots__]
    assert all(number is None or (type(number) is int and number >= 0) for number in counts)
    if found.error is not None:
        assert 0 < len(found.error.type) <= 256
        assert len(found.error.message) <= 2048


@settings(max_examples=60, deadline=None)
@given(PATHS, VALUES, VALUES, st.sampled_from([200, 400, 500, None]), st.integers(0, 40))
def test_any_json_is_taken_and_what_is_derived_can_be_encoded(path, request, reply, status, limit):
    check(interpret_json(path, request, reply, status, limit), limit)


@settings(max_examples=60, deadline=None)
@given(PATHS, DOCUMENTS, DOCUMENTS, st.integers(0, 40))
def test_any_objects_are_taken_and_what_is_derived_can_be_encoded(path, request, reply, limit):
    check(interpret_json(path, request, reply, 200, limit), limit)


EVENTS = st.lists(st.tuples(st.one_of(st.none(), WORDS), DOCUMENTS), max_size=5)


@settings(max_examples=60, deadline=None)
@given(PATHS, DOCUMENTS, EVENTS, st.integers(0, 40))
def test_any_events_are_taken_and_what_is_derived_can_be_encoded(path, request, documents, limit):
    body = b"".join(
        (b"" if name is None else f"event: {name}\n".encode()) + b"data: " + encode(document) + b"\n\n"
        for name, document in documents
    )
    check(interpret_stream(path, request, body, limit), limit)


@settings(max_examples=150, deadline=None)
@given(
    PATHS,
    st.binary(max_size=200),
    st.binary(max_size=200),
    st.sampled_from(
        ["application/json", "text/event-stream", "text/plain", "multipart/form-data; boundary=B", None]
    ),
    st.sampled_from([None, "gzip", "deflate", "br", "gzip, deflate"]),
)
def test_any_bytes_are_taken(path, request, reply, media, coding):
    parsed = read_request(media, coding, request)
    check(understand(path, parsed, Answer(200, media, coding, reply, None), 50), 50)


ODD = [
    None,
    True,
    -1,
    7,
    2**70,
    1e300,
    "",
    "text",
    "\ud83d",
    [],
    {},
    [None],
    ["a"],
    [[1]],
    {"type": "x"},
    [{"a": []}],
]


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, as the way to it."""
    if isinstance(value, dict):
        return [way, *(place for key, item in value.items() for place in places(item, (*way, key)))]
    if isinstance(value, list):
        return [way, *(place for at, item in enumerate(value[:3]) for place in places(item, (*way, at)))]
    return [way]


def with_value(value: Any, way: tuple[Any, ...], new: Any) -> Any:
    """Copy a JSON value with one place of it changed."""
    if not way:
        return new
    copy = value.copy()
    copy[way[0]] = with_value(value[way[0]], way[1:], new)
    return copy


@pytest.mark.parametrize(
    "one", [one for one in all_captures() if one.status == 200 and one.request.body], ids=lambda one: one.id
)
def test_a_real_exchange_with_any_one_value_replaced_is_taken(one):
    rng = random.Random(one.id)
    request, reply = parse(one.request.body) or {}, one.response.body
    if b"data:" in reply[:200]:
        documents = [parse(data) for _, data in events(reply)]
        numbered = [(at, place) for at, document in enumerate(documents[:6]) for place in places(document)]
        for at, place in rng.sample(numbered, min(len(numbered), 30)):
            changed = [
                *documents[:at],
                with_value(documents[at], place, rng.choice(ODD)),
                *documents[at + 1 :],
            ]
            check(interpret_stream(one.target, request, stream_of(*changed)), 2048)
    elif isinstance(document := parse(reply), dict):
        for place in rng.sample(found := places(document), min(len(found), 30)):
            check(interpret_json(one.target, request, with_value(document, place, rng.choice(ODD))), 2048)
    for place in rng.sample(found := places(request), min(len(found), 30)):
        check(interpret_json(one.target, with_value(request, place, rng.choice(ODD)), reply), 2048)


@pytest.mark.parametrize("path", [*BY_PATH, "/invocations"])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"choices":' * 5_000,
        b'{"messages":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"model": 1' + b"0" * 5_000 + b"}",
        b'{"usage": {"prompt_tokens": 1e999, "completion_tokens": -5, "total_tokens": true}}',
        b'{"choices": "text", "usage": [], "error": 7, "model": {}}',
        b'\xef\xbb\xbf{"model": "\\ud83d"}',
        '{"model": "naïve"}'.encode("utf-16"),
        b"\x00" * 64,
    ],
    ids=[
        "deep",
        "deep-cut",
        "deep-but-closed",
        "huge-number",
        "odd-counts",
        "wrong-types",
        "bom",
        "utf-16",
        "nul",
    ],
)
def test_hostile_bodies_are_taken_in_every_place(path, body):
    check(interpret_json(path, body, body), 2048)
    check(interpret_json(path, body, body, status=400), 2048)
    check(interpret_stream(path, body, b"data: " + body + b"\n\n"), 2048)


def test_one_line_of_ten_megabytes_is_read():
    said = "x" * 10_000_000
    line = stream_of({"choices": [{"index": 0, "delta": {"content": said}}]})
    found = interpret_stream("/v1/chat/completions", {}, line)
    assert found.response_preview == said[:2048]
    assert found.assembled["choices"][0]["message"]["content"] == said


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
