from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_audit.journal import frames
from llm_audit.journal.repair import restore_header

MARKER = b"\xa1\x02\x00\x04\xff\x06\x07\x08"


def segment(payload: bytes, at: int, *, follows: bool) -> bytearray:
    data = bytearray(at)
    data += frames.frame(MARKER, 4, payload, at=at, number=7, exchange=1 << 40, mono_ns=1 << 50, flags=1)
    if follows:
        data += frames.frame(MARKER, 5, b"x" * 41, at=len(data))
    return data + bytes(6000)


@pytest.mark.parametrize("follows", [True, False])
@pytest.mark.parametrize("payload", [b"", b"p", b"data: {}\n\n" * 30, bytes(500), b"z" * 70_000])
def test_a_damaged_byte_of_a_header_is_put_back_wherever_it_is(payload, follows):
    data = segment(payload, 64, follows=follows)
    right = bytes(data[64 : 64 + frames.HEADER_SIZE])
    chance = random.Random(1)
    for place in range(frames.HEADER_SIZE):
        for change in (1, 0x80, 0xFF, chance.randrange(1, 256)):
            data[64 + place] ^= change
            assert restore_header(memoryview(bytes(data)), 64, MARKER) == right, (place, change)
            data[64 + place] ^= change


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_damaged_payload_is_never_taken_for_a_damaged_header(payload, data):
    broken = segment(payload, 64, follows=True)
    at = data.draw(st.integers(0, len(payload) - 1))
    broken[64 + frames.HEADER_SIZE + at] ^= data.draw(st.integers(1, 255))
    assert restore_header(memoryview(bytes(broken)), 64, MARKER) is None


@given(st.binary(max_size=200))
def test_anything_else_is_no_header(junk):
    assert restore_header(memoryview(junk), 0, MARKER) is None
    data = segment(b"payload", 64, follows=True)
    data[64 + 16] ^= 1
    data[64 + 24] ^= 1
    assert restore_header(memoryview(bytes(data)), 64, MARKER) is None
