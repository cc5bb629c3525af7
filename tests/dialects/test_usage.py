"""Token counts, from every shape of a usage object."""

from __future__ import annotations

import pytest

from llm_audit.dialects.usage import NO_USAGE, read_cohere_usage, read_usage
from llm_audit.record.schema import Usage


def test_openai_chat_usage_with_its_details():
    assert read_usage(
        {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 64},
            "completion_tokens_details": {"reasoning_tokens": 15},
        }
    ) == Usage(100, 20, 120, 64, 15)


def test_openai_responses_usage_with_its_details():
    assert read_usage(
        {
            "input_tokens": 153,
            "input_tokens_details": {"cached_tokens": 128},
            "output_tokens": 57,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 210,
        }
    ) == Usage(153, 57, 210, 128, 0)


def test_the_total_is_the_sum_where_the_server_gave_none():
    assert read_usage({"input_tokens": 37, "output_tokens": 8}) == Usage(37, 8, 45)


def test_the_servers_total_stands_even_if_it_is_not_the_sum():
    assert read_usage({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 5}) == Usage(1, 1, 5)


def test_anthropic_counts_cached_tokens_apart_and_they_are_input_here_as_elsewhere():
    assert read_usage(
        {
            "input_tokens": 10,
            "output_tokens": 5,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 20,
        }
    ) == Usage(130, 5, 135, 100)


def test_an_input_alone_has_no_total():
    assert read_usage({"input_tokens": 37}) == Usage(37)


def test_seconds_of_audio_are_no_tokens():
    assert read_usage({"type": "duration", "seconds": 1}) == NO_USAGE


@pytest.mark.parametrize(
    "value", [None, [], "x", 7, {}, {"prompt_tokens": -1, "completion_tokens": True, "total_tokens": "9"}]
)
def test_what_is_no_count_is_not_counted(value):
    assert read_usage(value) == NO_USAGE


def test_cohere_counts_in_tokens_or_else_in_billed_units_and_in_floats():
    billed = {"billed_units": {"input_tokens": 3.0, "output_tokens": 4.0}}
    assert read_cohere_usage(billed) == Usage(3, 4, 7)
    assert read_cohere_usage(
        {**billed, "tokens": {"input_tokens": 70.0, "output_tokens": 4.0}, "cached_tokens": 16.0}
    ) == (Usage(70, 4, 74, 16))
    assert read_cohere_usage("free") == NO_USAGE
