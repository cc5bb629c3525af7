"""The event stream parser against a plain reading of the standard, and at every byte boundary."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captures_loader import all_captures, capture
from faults.fuzzing.by_the_book import events as by_the_book
from llm_audit.dialects.event_stream import events

STREAMS = [one for one in all_captures() if one.response and b"data:" in one.response.body[:200]]


@pytest.mark.parametrize("one", STREAMS, ids=lambda one: one.name)
def test_captured_streams_read_as_the_standard_says_wherever_they_are_cut(one):
    body = one.response.body
    for end in {*range(min(len(body), 400)), *range(0, len(body), 37), len(body)}:
        assert list(events(body[:end])) == by_the_book(body[:end])


FRAGMENTS = st.sampled_from(
    [
        *(b"data", b"data:", b"data: ", b"event: ", b"event:", b":", b" ", b"id: 7", b"retry: 1"),
        *(b"\n", b"\r", b"\r\n", b"\n\n", b"\n\ndata: ", b"x", b'{"a": 1}'),
        *(b"\xef\xbb\xbf", b"\xc3", "\u2028".encode(), "\x85".encode(), b"\x0b"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAGMENTS, max_size=30).map(b"".join), st.integers(1, 80))
def test_any_stream_reads_as_the_standard_says_and_windows_do_not_show(body, window):
    assert list(events(body)) == by_the_book(body)
    assert list(events(body, window)) == by_the_book(body)


def test_separators_of_unicode_are_text_and_end_no_line():
    said = 'data: {"text": "a\u2028b\u2029c\u0085d\u000be"}\n\n'.encode()
    assert list(events(said)) == [("message", said[6:-2])]


def test_several_data_lines_are_one_event():
    assert list(events(b"event: e\ndata: a\ndata:b\ndata\n\n")) == [("e", b"a\nb\n")]


def test_comments_and_unknown_fields_are_skipped_anywhere():
    body = b": hello\n\ndata: 1\n: keep-alive\nid: 3\nretry: 10\nfoo: bar\ndata: 2\n\n:\n\n"
    assert list(events(body)) == [("message", b"1\n2")]


def test_a_name_holds_for_its_own_event_only():
    assert list(events(b"event: a\ndata: 1\n\ndata: 2\n\n")) == [("a", b"1"), ("message", b"2")]


def test_an_event_without_its_blank_line_is_given_all_the_same():
    assert list(events(b"data: 1\n\ndata: 2")) == [("message", b"1"), ("message", b"2")]


def test_a_stream_of_the_anthropic_kind_keeps_its_names():
    names = [name for name, _ in events(capture("messages-stream").response.body)]
    assert names[:3] == ["message_start", "content_block_start", "content_block_delta"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
