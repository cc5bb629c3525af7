"""How chunks add up, whatever order and shape they come in."""

from __future__ import annotations

from llm_audit.dialects.choices import add_up, finish_reasons, in_order


def chunk(index=0, delta=None, **members):
    return (
        "message",
        {"choices": [{"index": index, **({} if delta is None else {"delta": delta}), **members}]},
    )


def test_texts_grow_and_are_told_apart_by_choice():
    whole = add_up(
        [
            chunk(1, {"role": "assistant", "content": ""}),
            chunk(0, {"role": "assistant", "content": ""}),
            chunk(0, {"content": "a"}),
            chunk(1, {"content": "x"}),
            chunk(0, {"content": "b"}, finish_reason="stop"),
            chunk(1, {"content": "y"}, finish_reason="length"),
        ]
    )
    assert whole["choices"] == [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ab"}},
        {"index": 1, "finish_reason": "length", "message": {"role": "assistant", "content": "xy"}},
    ]


def test_reasoning_and_refusals_grow_beside_the_content():
    (choice,) = add_up(
        [
            chunk(delta={"role": "assistant", "reasoning": "let "}),
            chunk(delta={"reasoning": "me see", "content": None}),
            chunk(delta={"reasoning_content": "old "}),
            chunk(delta={"reasoning_content": "name"}),
            chunk(delta={"content": "4"}),
            chunk(delta={"content": "2"}),
            chunk(delta={"refusal": "no"}),
        ]
    )["choices"]
    assert choice["message"] == {
        "role": "assistant",
        "reasoning": "let me see",
        "reasoning_content": "old name",
        "content": "42",
        "refusal": "no",
    }
    assert choice["finish_reason"] is None


def test_tool_calls_are_merged_by_their_index_even_when_they_alternate():
    def piece(index, function, **members):
        return chunk(delta={"tool_calls": [{"index": index, "function": function, **members}]})

    (choice,) = add_up(
        [
            piece(0, {"name": "f", "arguments": ""}, id="1", type="function"),
            piece(1, {"name": "g", "arguments": '{"b'}, id="2", type="function"),
            piece(0, {"arguments": '{"a"'}),
            piece(1, {"arguments": '": 2}'}),
            piece(0, {"name": None, "arguments": ": 1}"}),
        ]
    )["choices"]
    assert choice["message"]["tool_calls"] == [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
        {"id": "2", "type": "function", "function": {"name": "g", "arguments": '{"b": 2}'}},
    ]


def test_a_huge_tool_index_costs_nothing():
    (choice,) = add_up([chunk(delta={"tool_calls": [{"index": 2**40, "function": {"name": "f"}}]})])[
        "choices"
    ]
    assert choice["message"]["tool_calls"] == [{"function": {"name": "f"}}]


def test_old_function_calls_and_sound_grow_too():
    (choice,) = add_up(
        [
            chunk(
                delta={
                    "function_call": {"name": "f", "arguments": "{"},
                    "audio": {"id": "a", "transcript": "he"},
                }
            ),
            chunk(
                delta={"function_call": {"arguments": "}"}, "audio": {"transcript": "llo", "expires_at": 7}}
            ),
        ]
    )["choices"]
    assert choice["message"] == {
        "function_call": {"name": "f", "arguments": "{}"},
        "audio": {"id": "a", "transcript": "hello", "expires_at": 7},
    }


def test_log_probabilities_and_token_ids_are_strung_together():
    (choice,) = add_up(
        [
            chunk(text="a", logprobs={"tokens": ["a"], "token_logprobs": [-1.0]}, token_ids=[1]),
            chunk(text="b", logprobs={"tokens": ["b"], "token_logprobs": None}, token_ids=[2, 3]),
        ]
    )["choices"]
    assert choice["text"] == "ab"
    assert choice["logprobs"] == {"tokens": ["a", "b"], "token_logprobs": [-1.0]}
    assert choice["token_ids"] == [1, 2, 3]


def test_the_last_word_on_usage_stands_and_null_is_no_word():
    whole = add_up(
        [
            (
                "message",
                {"id": "x", "object": "chat.completion.chunk", "usage": {"total_tokens": 1}, "choices": []},
            ),
            ("message", {"id": "x", "choices": [], "usage": {"total_tokens": 2}}),
            ("message", {"id": "x", "choices": [], "usage": None}),
        ]
    )
    assert whole == {"id": "x", "object": "chat.completion", "choices": [], "usage": {"total_tokens": 2}}


def test_choices_without_an_index_keep_their_place():
    whole = add_up([("message", {"choices": [{"delta": {"content": "a"}}, {"delta": {"content": "b"}}]})] * 2)
    assert [choice["message"]["content"] for choice in whole["choices"]] == ["aa", "bb"]


def test_no_chunk_is_no_reply():
    assert add_up([]) is None


def test_replies_are_read_in_order_of_their_index():
    listed = in_order(
        {"choices": [{"index": 1, "finish_reason": "b"}, "odd", {"index": 0, "finish_reason": "a"}]}
    )
    assert finish_reasons(listed) == ("a", "b")
    assert finish_reasons([{"finish_reason": None}, {"finish_reason": 7}, {"finish_reason": "x" * 300}]) == (
        "x" * 256,
    )
