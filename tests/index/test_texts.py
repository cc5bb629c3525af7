"""Strangers' texts: cut between visible characters, always encodable, described without being said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_audit.index.texts import cut, kind, preview, short

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
ACCENTED = "e\u0301"


@given(st.text(), st.integers(0, 40))
def test_a_preview_is_a_beginning_no_longer_than_allowed_and_can_be_encoded(text, limit):
    shown = preview(text, limit)
    assert len(shown) <= limit
    assert text.encode("utf-8", "replace").decode().startswith(shown)
    shown.encode()


@pytest.mark.parametrize("cluster", [FAMILY, ACCENTED, "\U0001f44d\U0001f3fd", "\u2764\ufe0f"])
def test_a_preview_never_ends_within_a_visible_character(cluster):
    text = "ab" + cluster * 3
    whole = {"ab" + cluster * count for count in range(4)} | {"a", "ab", ""}
    assert {preview(text, limit) for limit in range(len(text) + 1)} <= whole


def test_a_character_beyond_all_measure_is_cut_where_the_limit_is():
    assert preview("a" + "\u0301" * 100, 50) == "a" + "\u0301" * 49


def test_plain_text_is_cut_exactly():
    assert preview("x" * 3000, 2048) == "x" * 2048
    assert preview("\U0001f600" * 3000, 2048) == "\U0001f600" * 2048


def test_nothing_and_other_kinds_have_no_text():
    assert (preview("", 10), preview(None, 10), cut(7, 10), short(["a"])) == ("", None, None, None)


def test_a_value_is_described_by_kind_and_size_alone():
    assert kind("secret") == "a text of 6 characters"
    assert kind({"secret": 1}) == "a dict"
    assert (kind(None), kind(3), kind(True)) == ("None", "3", "True")
    assert len(kind(10**4000)) <= 80
