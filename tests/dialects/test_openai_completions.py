"""Text completions, and token ids in place of text."""

from __future__ import annotations

from dialects_exchanges import interpret_json, interpret_stream, stream_of

PATH = "/v1/completions"


def test_every_kind_of_prompt_has_a_preview():
    def preview(**request):
        return interpret_json(PATH, request, {}).prompt_preview

    assert preview(prompt="a") == "a"
    assert preview(prompt=["a", "b"]) == "a\nb"
    assert preview(prompt=[1, 2]) == "[2 tokens]"
    assert preview(prompt=[[1], [2, 3]]) == "[1 token]\n[2 tokens]"
    assert preview(prompt_embeds="AAAA") == "[prompt embeddings]"
    assert preview(prompt="def f(", suffix="return x") == "def f(\n[suffix] return x"
    assert preview(prompt=None) is None


def test_choices_are_read_in_order():
    choices = [
        {"index": 1, "text": "b", "finish_reason": "length"},
        {"index": 0, "text": "a", "finish_reason": "stop"},
    ]
    found = interpret_json(PATH, {}, {"choices": choices})
    assert found.response_preview == "a\n\n[choice 1] b"
    assert found.finish_reasons == ("stop", "length")


def test_generation_from_tokens_gives_text_or_counts_tokens():
    path, asked = "/inference/v1/generate", {"token_ids": [1, 2, 3], "sampling_params": {}}
    found = interpret_json(
        path, asked, {"choices": [{"index": 0, "token_ids": [4, 5], "finish_reason": "stop"}]}
    )
    assert (found.operation, found.prompt_preview) == ("generate_content", "[3 tokens]")
    assert found.response_preview == "[2 tokens]"
    events = [
        {"request_id": "r", "choices": [{"index": 0, "token_ids": [4]}], "usage": None},
        {"request_id": "r", "choices": [{"index": 0, "token_ids": [5, 6], "finish_reason": "stop"}]},
        {
            "request_id": "r",
            "choices": [],
            "usage": {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6},
        },
    ]
    found = interpret_stream(path, asked, stream_of(*events))
    assert found.assembled["choices"] == [{"finish_reason": "stop", "index": 0, "token_ids": [4, 5, 6]}]
    assert found.usage.total_tokens == 6
    assert found.response_preview == "[3 tokens]"
