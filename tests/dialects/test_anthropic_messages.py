"""Anthropic's messages, whole and cut."""

from __future__ import annotations

from captures_loader import capture
from dialects_exchanges import interpret_capture, interpret_json, interpret_stream, named_stream_of

PATH = "/v1/messages"


def delta(index, kind, **members):
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **members}}


START = {
    "type": "message_start",
    "message": {
        "id": "m",
        "role": "assistant",
        "content": [],
        "usage": {"input_tokens": 9, "output_tokens": 1},
    },
}


def test_the_system_prompt_stands_first_and_blocks_are_read():
    messages = [
        {"role": "user", "content": [{"type": "image", "source": {}}, {"type": "text", "text": "Weather?"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "18C"}]}]},
    ]
    found = interpret_json(
        PATH, {"system": [{"type": "text", "text": "Be terse."}], "messages": messages}, {}
    )
    assert (
        found.prompt_preview == 'system: Be terse.\nuser: [image]\nWeather?\nassistant: f({"a":1})\nuser: 18C'
    )


def test_text_comes_before_thinking():
    content = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "4"},
        {"type": "tool_use", "name": "f"},
    ]
    found = interpret_json(PATH, {}, {"content": content, "stop_reason": "tool_use"})
    assert found.response_preview == "4\nf()\n[reasoning] hm"
    assert found.finish_reasons == ("tool_use",)


def test_blocks_of_every_kind_are_put_together():
    found = interpret_stream(
        PATH,
        {},
        named_stream_of(
            START,
            {
                "type": "content_block_start",
                "index": 0,
                "content_block": {"type": "thinking", "thinking": ""},
            },
            delta(0, "thinking_delta", thinking="let me "),
            {"type": "ping"},
            delta(0, "thinking_delta", thinking="see"),
            delta(0, "signature_delta", signature="sig"),
            {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
            delta(1, "text_delta", text="Hel"),
            delta(1, "text_delta", text="lo"),
            {
                "type": "content_block_start",
                "index": 2,
                "content_block": {"type": "tool_use", "name": "f", "input": {}},
            },
            delta(2, "input_json_delta", partial_json='{"a"'),
            delta(2, "input_json_delta", partial_json=": 1}"),
            {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}},
            {"type": "message_stop"},
        ),
    )
    assert found.assembled == {
        "id": "m",
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "let me see", "signature": "sig"},
            {"type": "text", "text": "Hello"},
            {"type": "tool_use", "name": "f", "input": {"a": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 9, "output_tokens": 7},
    }
    assert found.usage.total_tokens == 16


def test_tool_input_that_was_cut_stays_the_text_that_came():
    body = capture("messages-tools-stream").response.body
    cut = interpret_capture(capture("messages-tools-stream"), body=body[: body.index(b'"Paris"')])
    assert cut.assembled["content"][0]["input"] == '{\n    "city": "'
    assert cut.response_preview == 'get_weather({\n    "city": ")'


def test_output_tokens_of_a_stream_that_was_cut_are_not_known():
    cut = interpret_stream(PATH, {}, named_stream_of(START, delta(0, "text_delta", text="Hel")))
    assert (cut.usage.input_tokens, cut.usage.output_tokens, cut.usage.total_tokens) == (9, None, None)
    assert cut.response_preview == "Hel"


def test_an_error_event_is_told():
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    found = interpret_stream(PATH, {}, named_stream_of(START, error))
    assert (found.error.type, found.error.message) == ("overloaded_error", "Overloaded")
    assert found.assembled["error"] == error["error"]
