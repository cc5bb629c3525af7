"""Canonical JSON, held against RFC 8785 and against the standard library."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_audit.integrity.canonical import NotCanonicalError, canonical, read_canonical

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NAMES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
)


def by_the_standard_library(value) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def test_the_rfcs_own_string_comes_out_as_the_rfc_has_it():
    value = {"string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/"}
    assert canonical(value) == '{"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'.encode()


def test_every_character_is_written_as_the_standard_library_writes_it():
    for code in range(0x3000):
        assert canonical(chr(code)) == by_the_standard_library(chr(code)), hex(code)


@given(VALUES)
def test_any_value_is_written_alike_and_read_back(value):
    assert canonical(value) == by_the_standard_library(value)
    assert read_canonical(canonical(value)) == value


@pytest.mark.parametrize(
    "data",
    [b"", b" {}", b"{} ", b'{"b":1,"a":2}', b'{"a":1,"a":1}', b'{"a": 1}', b'"\\u0041"', b'"\\/"', b"-0", b"1e2", b"01",
     b"\xff", b'"\\ud800"', b"[" * 100_000],
)  # fmt: skip
def test_another_spelling_is_refused(data):
    with pytest.raises(NotCanonicalError):
        read_canonical(data)
