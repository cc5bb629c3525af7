"""Calls about tokens, after vLLM 0.32's protocol where no capture was to be had."""

from __future__ import annotations

import pytest

from dialects_exchanges import interpret_json

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("path", "request_", "reply", "operation", "prompt", "response"),
    [
        ("/tokenize", {"prompt": "x"}, {"count": 1, "tokens": [104]}, "tokenize", "x", "[1 token]"),
        ("/tokenize", CHAT, {"count": 31, "tokens": []}, "tokenize", "user: hi", "[31 tokens]"),
        ("/detokenize", {"tokens": [1, 2]}, {"prompt": "Hello"}, "detokenize", "[2 tokens]", "Hello"),
        ("/v1/messages/count_tokens", CHAT, {"input_tokens": 37}, "count_tokens", "user: hi", "[37 tokens]"),
        ("/v1/chat/completions/render", CHAT, {"token_ids": [1, 2]}, "render", "user: hi", "[2 tokens]"),
        (
            "/v1/completions/render",
            {"prompt": ["a", "b"]},
            [{"token_ids": [1]}, {"token_ids": [2, 3]}],
            "render",
            "a\nb",
            "[1 token] [2 tokens]",
        ),
        (
            "/v1/messages/render",
            {**CHAT, "system": "s"},
            {"token_ids": [1]},
            "render",
            "system: s\nuser: hi",
            "[1 token]",
        ),
        ("/v1/responses/render", {"input": "x"}, {"token_ids": [1]}, "render", "user: x", "[1 token]"),
    ],
)
def test_each_call_shows_what_went_in_and_what_came_out(path, request_, reply, operation, prompt, response):
    found = interpret_json(path, request_, reply)
    assert (found.operation, found.prompt_preview, found.response_preview) == (operation, prompt, response)
    assert found.usage.input_tokens is None


def test_a_derendered_reply_is_read_and_its_tokens_are_not_counted_again():
    path = "/v1/chat/completions/derender"
    reply = {
        "model": "m",
        "choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    found = interpret_json(path, {"generate_response": {}, "chat_request": CHAT}, reply)
    assert (found.operation, found.prompt_preview, found.response_preview) == (
        "derender",
        "user: hi",
        "Hello",
    )
    assert found.finish_reasons == ("stop",)
    assert found.usage.total_tokens is None


def test_a_derendered_chunk_is_read():
    chunk = {"model": "m", "choices": [{"index": 0, "delta": {"content": "Hel"}}]}
    found = interpret_json(
        "/v1/chat/completions/derender", {"prompt_token_ids": [1, 2, 3]}, {"chunk": chunk, "stream_state": {}}
    )
    assert (found.prompt_preview, found.response_preview, found.model.served) == ("[3 tokens]", "Hel", "m")
    chunk = {"model": "m", "choices": [{"index": 0, "text": "lo"}]}
    assert interpret_json("/v1/completions/derender", {}, {"chunk": chunk}).response_preview == "lo"


def test_raw_multi_modal_parts_of_a_token_prompt_are_named():
    asked = {"token_ids": [1, 2], "content_parts": [{"type": "image_url", "image_url": {"url": "x"}}]}
    assert interpret_json("/inference/v1/generate", asked, {}).prompt_preview == "[image]\n[2 tokens]"
