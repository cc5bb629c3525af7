"""What people read of a call, and how it is kept short."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_audit.dialects.previews import (
    call_text,
    content_text,
    conversation,
    inputs_newest_first,
    keep_end,
    keep_start,
    message_line,
    part_text,
)


def read(lines):
    return "\n".join(reversed(list(lines)))


def test_the_start_is_kept_and_no_more_pieces_are_asked_for_than_needed():
    asked = (str(number % 10) for number in count())
    assert keep_start(asked, 5) == "01234"


def test_the_end_is_kept_and_marked():
    assert keep_end(iter(["three", "two", "one"]), 100) == "one\ntwo\nthree"
    assert keep_end(iter(["three", "two", "one"]), 9) == "…wo\nthree"
    assert keep_end((f"line {number}" for number in count()), 9) == "…1\nline 0"


def test_no_line_is_no_preview():
    assert keep_end(iter([]), 9) is None


@given(st.lists(st.text(max_size=8), min_size=1, max_size=6), st.integers(0, 20))
def test_the_end_never_has_more_characters_than_asked_for(lines, limit):
    kept = keep_end(reversed(lines), limit)
    whole = "\n".join(lines)
    assert len(kept) <= limit
    assert kept == whole if len(whole) <= limit else whole.endswith(kept.removeprefix("…"))


def test_characters_are_counted_not_bytes():
    assert keep_start(["😀" * 10], 3) == "😀😀😀"
    assert keep_end(iter(["😀" * 10]), 3) == "…😀😀"


def test_a_conversation_is_labelled_with_its_roles():
    messages = [
        {"role": "system", "content": "Be terse."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {}}],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "look", "arguments": '{"a":1}'}}],
        },
        {"role": "tool", "content": "a cat"},
    ]
    assert read(conversation(messages)) == (
        'system: Be terse.\nuser: What is this?\n[image]\nassistant: look({"a":1})\ntool: a cat'
    )


def test_the_conversations_of_a_batch_stand_under_headings():
    messages = [
        [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
        [{"role": "user", "content": "c"}],
    ]
    assert read(conversation(messages)) == "[conversation 0]\nuser: a\nuser: b\n[conversation 1]\nuser: c"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("plain", "plain"),
        ({"type": "text", "text": "t"}, "t"),
        ({"type": "input_text", "text": "t"}, "t"),
        ({"type": "refusal", "refusal": "no"}, "no"),
        ({"type": "thinking", "thinking": "hm", "signature": "s"}, "hm"),
        ({"type": "redacted_thinking", "data": "AAAA"}, "[redacted thinking]"),
        ({"type": "input_image", "image_url": "data:…"}, "[image]"),
        ({"type": "image", "source": {"data": "AAAA"}}, "[image]"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA"}}, "[audio]"),
        ({"type": "video_url", "video_url": {}}, "[video]"),
        ({"type": "input_file", "file_id": "f"}, "[file]"),
        ({"type": "document", "source": {}}, "[document]"),
        ({"image_url": {"url": "x"}}, "[image]"),
        ({"audio_url": {"url": "x"}}, "[audio]"),
        ({"type": "tool_use", "name": "f", "input": {"a": 1}}, 'f({"a":1})'),
        ({"type": "tool_result", "content": "18C"}, "18C"),
        (
            {"type": "tool_result", "content": [{"type": "text", "text": "a"}, {"type": "image"}]},
            "a\n[image]",
        ),
        ({"type": "hologram"}, "[hologram]"),
        ({"type": ["odd"]}, ""),
        ({"type": "text", "text": 7}, "[text]"),
        (7, ""),
    ],
)
def test_parts_are_shown_as_text_or_named(part, said):
    assert part_text(part) == said


def test_content_may_be_text_parts_one_part_or_nothing():
    assert content_text("x") == "x"
    assert content_text(["a", {"type": "text", "text": "b"}]) == "a\nb"
    assert content_text({"type": "text", "text": "c"}) == "c"
    assert content_text(None) == ""


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("f", '{"a":1}', 'f({"a":1})'),
        ("f", {"a": 1}, 'f({"a":1})'),
        (None, None, "?()"),
        ("f", [1], "f([1])"),
    ],
)
def test_calls_read_like_calls(name, arguments, said):
    assert call_text(name, arguments) == said


def test_a_message_without_a_role_says_so():
    assert message_line({"content": "x"}) == "?: x"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("text", "text"),
        (["a", "b"], "a\nb"),
        ([1, 2, 3], "[3 tokens]"),
        ([[1], [2, 3]], "[1 token]\n[2 tokens]"),
        ([{"role": "user", "content": "x"}], "user: x"),
        ([[{"role": "user", "content": "x"}]], "user: x"),
        ([{"type": "text", "text": "x"}], "x"),
        ([], ""),
        (7, ""),
    ],
)
def test_inputs_may_be_text_tokens_or_messages(value, said):
    assert read(inputs_newest_first(value)) == said
