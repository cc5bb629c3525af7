"""Where a chunked message can end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm_audit.proxy.framing import pieces_at_empty_lines

BYTES = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"0", b"abc"])).map(b"".join)


@given(data=BYTES)
def test_the_pieces_are_the_data_and_each_but_the_last_ends_with_an_empty_line(data: bytes) -> None:
    cuts = list(pieces_at_empty_lines(data, b""))
    assert b"".join(data[start:end] for start, end in cuts) == data
    assert all(data[:end].endswith(b"\r\n\r\n") for _, end in cuts[:-1])
    assert all(b"\r\n\r\n" not in data[start : end - 1] for start, end in cuts)


@given(data=BYTES, cut=st.integers(0, 200))
def test_an_empty_line_that_arrives_in_two_reads_is_found_all_the_same(data: bytes, cut: int) -> None:
    first, second = data[:cut], data[cut:]
    whole_ends = {end for _, end in pieces_at_empty_lines(data, b"")}
    ends = {end for _, end in pieces_at_empty_lines(first, b"")}
    ends |= {len(first) + end for _, end in pieces_at_empty_lines(second, first)}
    assert whole_ends <= ends | {0}
