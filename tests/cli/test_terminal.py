"""Text for terminals: harmless whatever it holds, numbers as people read them."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_audit.cli.terminal import harmless, shown_bytes, shown_ms, shown_time


@given(st.text(st.characters()))
def test_no_control_or_directional_mark_comes_through(text):
    left = {unicodedata.category(character) for character in harmless(text)} - {"Cn", "Co"}
    assert not {"Cc", "Cf", "Cs", "Zl", "Zp"} & left - {"Cc", "Cf"}
    assert all(character in "\t\n" for character in harmless(text) if unicodedata.category(character) == "Cc")
    assert not set(harmless(text)) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
    assert "\n" not in harmless(text, one_line=True)


def test_what_is_replaced_can_be_read():
    assert harmless("a\x1b[1m\x9b\u202e\U000e0041\ud800") == r"a\x1b[1m\x9b\u202e\U000e0041\ud800"


def test_ordinary_text_is_left_alone():
    text = "Größe 大きさ 👩\u200d👩 \u0646\u200c\u0647 tab\there\nnext"
    assert harmless(text) == text


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (None, ""),
        (0, "0 ms"),
        (999, "999 ms"),
        (1250, "1.25 s"),
        (59_994, "59.99 s"),
        (59_995, "1 min 0 s"),
        (125_000, "2 min 5 s"),
        (3_599_600, "1 h 0 min"),
        (12_000_000, "3 h 20 min"),
    ],
)
def test_durations_are_in_the_unit_people_use(ms, shown):
    assert shown_ms(ms) == shown


def test_sizes_and_times_are_short():
    assert [shown_bytes(size) for size in (None, 512, 1536, 3 * 2**30, 2**50)] == [
        "",
        "512 B",
        "1.5 KiB",
        "3.0 GiB",
        "1024.0 TiB",
    ]
    assert shown_time("2026-11-24T12:00:00.001Z") == "2026-11-24 12:00:00"
