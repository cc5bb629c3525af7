from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_audit.demo import bodies
from llm_audit.demo.bodies import BadBodyError

HELLO = [{"role": "user", "content": "hello"}]
WORDS = st.sampled_from(["", "a", "auto", "user", "é"])
SCALARS = st.none() | st.booleans() | st.integers(-5, 9) | st.just(0.5) | WORDS
JSON = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(WORDS, SCALARS, max_size=2)
NAMES = st.sampled_from(
    [
        "messages",
        "model",
        "prompt",
        "input",
        "max_tokens",
        "n",
        "stop",
        "stream",
        "stream_options",
        "tools",
        "content",
        "tool_choice",
        "system",
        "temperature",
        "max_output_tokens",
        "role",
        "function",
        "name",
        "type",
        "text",
    ]
)
BODIES = st.dictionaries(
    NAMES, JSON | st.lists(st.dictionaries(NAMES, JSON, max_size=4), max_size=3), max_size=8
)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(body):
    with suppress(BadBodyError):
        assert isinstance(bodies.parse(body), dict)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(BODIES)
def test_any_json_is_understood_or_refused(body):
    readers = (bodies.chat, bodies.completions, bodies.responses, bodies.messages, bodies.embeddings)
    for read in (*readers, bodies.count_tokens):
        with suppress(BadBodyError):
            read(body)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "body.messages"),
        ({"messages": "hello"}, "body.messages"),
        ({"messages": HELLO, "model": 3}, "body.model"),
        ({"messages": HELLO, "max_tokens": 0}, "max_tokens"),
        ({"messages": HELLO, "temperature": -1}, "temperature"),
        ({"messages": HELLO, "n": 100_000}, "n"),
        ({"messages": HELLO, "stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_a_refusal_names_what_is_wrong(body, param):
    with pytest.raises(BadBodyError) as caught:
        bodies.chat(body)
    assert caught.value.param == param


def test_the_prompt_is_the_last_thing_the_user_said():
    parts = [{"type": "text", "text": "and now"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    ask = bodies.chat(
        {"messages": [*HELLO, {"role": "assistant", "content": "hi"}, {"role": "user", "content": parts}]}
    )
    assert ask.prompt == "and now"
    assert ask.texts == ("hello", "hi", "and now")


def test_a_named_tool_is_understood_in_each_dialect():
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    named = {"type": "function", "function": {"name": "f"}}
    assert bodies.chat({"messages": HELLO, "tools": tools, "tool_choice": named}).tool_choice == "=f"
    flat = {
        "input": "x",
        "tools": [{"type": "function", "name": "f"}],
        "tool_choice": {"type": "function", "name": "f"},
    }
    assert bodies.responses(flat).tool_choice == "=f"
    claude = {
        "messages": HELLO,
        "max_tokens": 5,
        "tools": [{"name": "f", "input_schema": {}}],
        "tool_choice": {"type": "any"},
    }
    assert bodies.messages(claude).tool_choice == "required"
    assert bodies.messages(claude).tools[0].name == "f"


def test_a_tool_result_is_found_in_each_dialect():
    chat = bodies.chat({"messages": [*HELLO, {"role": "tool", "content": "18"}]})
    flat = bodies.responses({"input": [*HELLO, {"type": "function_call_output", "output": "18"}]})
    block = [{"type": "tool_result", "content": [{"type": "text", "text": "18"}]}]
    claude = bodies.messages({"max_tokens": 9, "messages": [*HELLO, {"role": "user", "content": block}]})
    assert chat.tool_result == flat.tool_result == claude.tool_result == "18"


def test_several_prompts_and_token_ids_are_taken():
    assert [ask.prompt for ask in bodies.completions({"prompt": ["a", "b"]})] == ["a", "b"]
    assert [ask.prompt for ask in bodies.completions({"prompt": [1, 2]})] == ["1\n2"]
    assert bodies.embeddings({"input": [[1, 2], [3]]}) == ["1\n2", "3"]
