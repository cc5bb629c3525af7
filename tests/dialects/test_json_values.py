"""Parsing as leniently as the server does, and accessors that trust no type."""

from __future__ import annotations

import json
import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_audit.dialects.json_values import (
    clean,
    compact,
    count,
    encodable,
    items,
    obj,
    parse,
    scrub,
    short,
    text,
)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": NaN, "b": -Infinity, "c": 1e999}', {"a": None, "b": None, "c": None}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'"\\ud83d x"', "\ufffd x"),
        (b'"\\ud83d\\ude00 \\ud83d"', "😀 \ufffd"),
        ('{"a": "é"}'.encode("utf-16"), {"a": "é"}),
        ('{"a": "é"}'.encode("utf-32-le"), {"a": "é"}),
        (b'{"a": "\xff"}', {"a": "\ufffd"}),
        (b'{"a": "\xed\xa0\x80"}', {"a": "\ufffd"}),
        (b"[NaN, 123456789012345678901234567890]", [None, 1.2345678901234568e29]),
        (b"[NaN, 1" + b"0" * 5000 + b"]", [None, None]),
        (b"", None),
        (b"   ", None),
        (b"[DONE]", None),
        (b"not json", None),
        (b'{"a": ', None),
        (b"[" * 100_000, None),
        (b"\x00" * 64, None),
    ],
)
def test_what_the_server_would_take_is_parsed_and_the_rest_is_none(data, value):
    assert parse(data) == value


@given(st.text(alphabet=st.characters(), max_size=50))
def test_any_text_can_be_encoded_once_it_is_clean(raw):
    assert orjson.loads(orjson.dumps(clean(raw))) == clean(raw)


def test_clean_text_is_left_as_it_is():
    assert clean("naïve 日本語 😀") == "naïve 日本語 😀"


def test_nesting_past_the_limit_is_dropped_and_the_rest_can_be_written():
    deep = json.loads("[" * 900 + "]" * 900)
    orjson.dumps(scrub(deep))


def test_a_document_is_copied_only_where_it_cannot_be_written():
    fine = {"a": [1, "é"]}
    assert encodable(fine) is fine
    assert encodable({"a": "\ud83d", "b": 2**70, "c": math.inf}) == {"a": "\ufffd", "b": None, "c": None}


def test_compact_gives_an_ellipsis_for_what_is_too_deep_to_be_read():
    deep = orjson.loads(b"[" * 900 + b"]" * 900)
    assert compact({"a": 1}) == '{"a":1}'
    assert compact(deep) == "…"


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *((0, 0), (7, 7), (12.0, 12), (12.5, None), (-1, None), (True, None), ("7", None)),
        *((None, None), (2**60, None), (math.inf, None), (math.nan, None), ([7], None)),
    ],
)
def test_a_count_is_a_whole_number_from_zero_up(value, number):
    assert count(value) == number


def test_accessors_give_something_of_their_type_whatever_comes():
    for value in (None, 1, "x", [], {}, True):
        assert isinstance(obj(value), dict)
        assert isinstance(items(value), list)
        assert text(value) is None or isinstance(value, str)


def test_a_short_string_is_cut_and_an_empty_one_is_none():
    assert short("x" * 300) == "x" * 256
    assert short("") is None
    assert short(7) is None
