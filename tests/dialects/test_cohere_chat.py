"""Cohere's chat, whole and streamed, after vLLM 0.32's protocol (no capture of it was to be had)."""

from __future__ import annotations

from dialects_exchanges import interpret_json, interpret_stream, stream_of

PATH = "/cohere/v2/chat"
ASKED = {"model": "m", "messages": [{"role": "user", "content": "Weather?"}]}
USAGE = {"tokens": {"input_tokens": 12.0, "output_tokens": 5.0}, "billed_units": {"input_tokens": 3.0}}


def part(kind, index, **message):
    return {"type": kind, "index": index, "delta": {"message": message}}


STREAM = [
    {"type": "message-start", "id": "x", "delta": {"message": {"role": "assistant"}}},
    part("tool-plan-delta", 0, tool_plan="I will look."),
    part("content-start", 0, content={"type": "thinking", "thinking": ""}),
    part("content-delta", 0, content={"thinking": "hm"}),
    {"type": "content-end", "index": 0},
    part("content-start", 1, content={"type": "text", "text": ""}),
    part("content-delta", 1, content={"text": "Hel"}),
    part("content-delta", 1, content={"text": "lo"}),
    part(
        "tool-call-start",
        0,
        tool_calls={"id": "1", "type": "function", "function": {"name": "f", "arguments": ""}},
    ),
    part("tool-call-delta", 0, tool_calls={"function": {"arguments": '{"a"'}}),
    part("tool-call-delta", 0, tool_calls={"function": {"arguments": ": 1}"}}),
    {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": USAGE}},
]
WHOLE = {
    "id": "x",
    "finish_reason": "TOOL_CALL",
    "usage": USAGE,
    "message": {
        "role": "assistant",
        "tool_plan": "I will look.",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hello"}],
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
    },
}


def test_a_reply_is_read():
    found = interpret_json(PATH, ASKED, WHOLE)
    assert found.operation == "chat"
    assert found.prompt_preview == "user: Weather?"
    assert found.response_preview == 'Hello\nf({"a": 1})\n[plan] I will look.\n[reasoning] hm'
    assert found.finish_reasons == ("TOOL_CALL",)
    assert (found.usage.input_tokens, found.usage.output_tokens, found.usage.total_tokens) == (12, 5, 17)


def test_a_stream_adds_up_to_the_reply():
    found = interpret_stream(PATH, ASKED, stream_of(*STREAM))
    assert found.assembled == WHOLE
    assert found.response_preview == interpret_json(PATH, ASKED, WHOLE).response_preview


def test_a_stream_that_was_cut_gives_what_came():
    found = interpret_stream(PATH, ASKED, stream_of(*STREAM[:7]))
    assert found.response_preview == "Hel\n[plan] I will look.\n[reasoning] hm"
    assert found.finish_reasons == ()
