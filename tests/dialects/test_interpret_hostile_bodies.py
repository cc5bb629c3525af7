"""``interpret`` and bodies that are wrong, odd or meant to hurt: all are taken, and nothing unwritable comes out."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captures_loader import all_captures
from dialects_exchanges import check, encode, interpret_json, interpret_stream, stream_of
from llm_audit.dialects.event_stream import events
from llm_audit.dialects.interpret import Answer, read_request, understand
from llm_audit.dialects.json_values import parse
from llm_audit.dialects.routes import BY_PATH

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
