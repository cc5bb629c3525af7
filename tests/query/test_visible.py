from hypothesis import given
from hypothesis import strategies as st

from llm_audit.query.visible import harmless, pieces


def test_controls_and_directional_marks_are_named_and_ordinary_text_stays():
    assert list(pieces("a\x1b[0m\u202eb")) == [
        (False, "a"),
        (True, "\\x1b"),
        (False, "[0m"),
        (True, "\\u202e"),
        (False, "b"),
    ]
    assert list(pieces("grüße\n\t👩‍👩‍👧")) == [(False, "grüße\n\t👩‍👩‍👧")]
    assert list(pieces("")) == []


@given(st.text())
def test_pieces_put_together_are_the_harmless_text(text):
    assert "".join(piece for _, piece in pieces(text)) == harmless(text)
