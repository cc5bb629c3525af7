"""Forms, as clients write them and as attackers do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captures_loader import capture
from llm_audit.dialects.multipart import PART_LIMIT, VALUE_LIMIT, Part, parts

TYPE = "multipart/form-data; boundary=B"


def form(*heads_and_values: tuple[str, bytes]) -> bytes:
    body = b"".join(
        b"--B\r\n" + head.encode() + b"\r\n\r\n" + value + b"\r\n" for head, value in heads_and_values
    )
    return body + b"--B--\r\n"


def test_a_captured_form_gives_its_fields_and_the_size_of_its_file():
    request = capture("transcription-with-prompt").request
    found = {part.name: part for part in parts(request.header("content-type"), request.body)}
    assert found["model"].value == "whisper-random"
    assert found["prompt"].value == "secret context"
    assert found["file"] == Part("file", "tone.wav", 32044, None)


@pytest.mark.parametrize(
    "content_type",
    [
        'multipart/form-data; boundary="B"',
        "multipart/form-data;boundary=B; charset=utf-8",
        "Multipart/Form-Data; Boundary=B",
    ],
)
def test_the_boundary_is_found_in_any_spelling(content_type):
    body = form(('Content-Disposition: form-data; name="model"', b"m"))
    assert list(parts(content_type, body)) == [Part("model", None, 1, "m")]


def test_names_may_hold_quotes_and_any_script():
    body = form(
        ('content-disposition: form-data; name="a\\"b"', b"1"),
        ('Content-Disposition: form-data; filename="日本%22.wav"; name="file"', b"abc"),
    )
    assert list(parts(TYPE, body)) == [Part('a"b', None, 1, "1"), Part("file", '日本".wav', 3, None)]


def test_the_boundary_inside_a_line_is_content():
    body = form(('Content-Disposition: form-data; name="a"', b"x --B y"))
    assert next(parts(TYPE, body)).value == "x --B y"


def test_a_form_that_was_cut_gives_the_part_that_was_cut_as_far_as_it_came():
    body = form(('Content-Disposition: form-data; name="file"; filename="f"', b"0123456789"))
    assert list(parts(TYPE, body[: body.index(b"456")])) == [Part("file", "f", 4, None)]


def test_a_value_is_cut_and_parts_are_counted():
    long = form(('Content-Disposition: form-data; name="a"', b"x" * (VALUE_LIMIT + 10)))
    (only,) = parts(TYPE, long)
    assert (only.size, len(only.value)) == (VALUE_LIMIT + 10, VALUE_LIMIT)
    many = form(*[('Content-Disposition: form-data; name="a"', b"")] * 1000)
    assert len(list(parts(TYPE, many))) == PART_LIMIT


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data", "application/json", "multipart/form-data; boundary="]
)
def test_without_a_boundary_there_are_no_parts(content_type):
    assert list(parts(content_type, form(("", b"x")))) == []


FRAGMENTS = st.sampled_from(
    [
        b"--B",
        b"--B--",
        b"\r\n",
        b"\r\n\r\n",
        b"Content-Disposition: form-data",
        b'; name="a"',
        b'; filename="',
        b'"',
        b"x",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAGMENTS, max_size=30).map(b"".join))
def test_any_bytes_are_taken_and_no_size_is_larger_than_the_body(body):
    assert all(0 <= part.size <= len(body) for part in parts(TYPE, body))
