"""Chat completions: what was said, by whom, and how it ended."""

from __future__ import annotations

from dialects_exchanges import interpret_json, interpret_stream, stream_of

PATH = "/v1/chat/completions"
ASKED = {"model": "asked", "messages": [{"role": "user", "content": "hi"}]}


def answer(*messages, **members):
    choices = [
        {"index": at, "message": message, "finish_reason": "stop"} for at, message in enumerate(messages)
    ]
    return {"object": "chat.completion", "model": "served", "choices": choices, **members}


def test_the_answer_comes_first_and_reasoning_last():
    message = {"role": "assistant", "content": "42", "reasoning": "6 times 7"}
    assert interpret_json(PATH, ASKED, answer(message)).response_preview == "42\n[reasoning] 6 times 7"
    message = {"role": "assistant", "content": None, "reasoning_content": "hm"}
    assert interpret_json(PATH, ASKED, answer(message)).response_preview == "[reasoning] hm"


def test_tool_calls_read_like_calls_below_the_text():
    calls = [{"function": {"name": "f", "arguments": "{}"}}, {"custom": {"name": "g", "input": "x"}}]
    found = interpret_json(PATH, ASKED, answer({"content": "Let me see.", "tool_calls": calls}))
    assert found.response_preview == "Let me see.\nf({})\ng(x)"


def test_refusals_old_function_calls_and_speech_are_shown():
    found = interpret_json(PATH, ASKED, answer({"content": None, "refusal": "I can't."}))
    assert found.response_preview == "I can't."
    found = interpret_json(PATH, ASKED, answer({"function_call": {"name": "f", "arguments": "{}"}}))
    assert found.response_preview == "f({})"
    found = interpret_json(PATH, ASKED, answer({"audio": {"data": "AAAA", "transcript": "hello"}}))
    assert found.response_preview == "[audio] hello"


def test_further_choices_stand_under_headings():
    found = interpret_json(PATH, ASKED, answer({"content": "a"}, {"content": "b"}))
    assert found.response_preview == "a\n\n[choice 1] b"
    assert found.finish_reasons == ("stop", "stop")


def test_requested_and_served_model_are_told_apart_and_cut():
    found = interpret_json(PATH, {**ASKED, "model": "m" * 300}, answer({"content": "a"}))
    assert found.model.requested == "m" * 256
    assert found.model.served == "served"


def test_a_long_conversation_keeps_its_newest_message():
    messages = [{"role": "user", "content": f"message {number}"} for number in range(1000)]
    found = interpret_json(PATH, {"messages": messages}, {}, preview_chars=40)
    assert found.prompt_preview.endswith("user: message 999")
    assert len(found.prompt_preview) == 40


def test_finish_reasons_are_bounded():
    many = answer(*[{"content": "x"}] * 500)
    assert len(interpret_json(PATH, ASKED, many).finish_reasons) == 64


def test_a_stream_with_reasoning_and_tools_reads_as_the_whole_reply_does():
    events = [
        {
            "model": "served",
            "choices": [{"index": 0, "delta": {"role": "assistant", "reasoning": "the tool "}}],
        },
        {"model": "served", "choices": [{"index": 0, "delta": {"reasoning": "knows"}}]},
        {
            "choices": [
                {
                    "index": 0,
                    "delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{"}}]},
                }
            ]
        },
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
    ]
    found = interpret_stream(PATH, ASKED, stream_of(*events))
    assert found.response_preview == "f({})\n[reasoning] the tool knows"
    assert found.finish_reasons == ("tool_calls",)
    assert found.model.served == "served"


def test_an_empty_answer_is_an_empty_preview_and_no_choice_is_none():
    assert interpret_json(PATH, ASKED, answer({"content": ""})).response_preview == ""
    assert interpret_json(PATH, ASKED, {"choices": []}).response_preview is None
