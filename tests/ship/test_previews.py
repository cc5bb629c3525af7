from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from llm_audit.ship.previews import PREVIEW_BYTES, fit_preview


def test_a_preview_of_the_default_length_is_never_cut():
    for character in ("a", "é", "\N{GRINNING FACE}", "\0"):
        assert fit_preview(character * 2048) == character * 2048


def test_nothing_stays_nothing():
    assert fit_preview(None) is None
    assert fit_preview("") == ""


@given(
    st.text(
        alphabet=st.sampled_from(["a", "é", "\N{GRINNING FACE}", "\0", '"', "\n"]), min_size=1, max_size=40
    )
)
def test_a_long_preview_is_cut_to_its_beginning_and_no_more_than_needed(unit):
    text = unit * (3 * PREVIEW_BYTES // len(unit))

    fitted = fit_preview(text)

    assert text.startswith(fitted)
    assert PREVIEW_BYTES * 3 // 4 < len(orjson.dumps(fitted)) <= PREVIEW_BYTES + 2
