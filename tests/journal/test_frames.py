from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_audit.journal import frames, openings
from llm_audit.journal.model import (
    End,
    JournalFormatError,
    Opening,
    RecordSettings,
    RequestStart,
    ResponseStart,
)
from llm_audit.record.schema import ErrorInfo, IdentitySource, Outcome

MARKER = b"\x01\x02\x03\x04\x05\x06\x07\x08"
u64 = st.integers(0, 2**64 - 1)
texts = st.text(st.characters())  # lone surrogates among them
maybe = st.none() | texts


@given(
    st.builds(
        RequestStart,
        request_id=st.binary(min_size=16, max_size=16),
        started_wall_ns=u64,
        started_mono_ns=u64,
        method=texts,
        target=texts,
        header_lines=st.binary(),
        client_address=texts,
        identity_source=st.sampled_from(IdentitySource),
        key_id=maybe,
        source=maybe,
        user=maybe,
        request_type=maybe,
    ),
    st.binary(),
)
def test_a_request_start_comes_back_as_it_was_with_the_body_after_it(start, body):
    encoded = frames.encode_request_start(**{name: getattr(start, name) for name in RequestStart._fields})
    head, rest = frames.split_start(frames.Kind.REQUEST, memoryview(encoded + body))
    assert frames.decode_request_start(head) == start
    assert rest == body


@given(st.integers(100, 999), st.binary(), st.binary())
def test_a_response_start_comes_back_as_it_was_with_the_body_after_it(status, lines, body):
    encoded = frames.encode_response_start(status, lines)
    head, rest = frames.split_start(frames.Kind.RESPONSE, memoryview(encoded + body))
    assert frames.decode_response_start(head) == ResponseStart(status, lines)
    assert rest == body


safe = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.builds(
        frames.EndFrame,
        end=st.builds(
            End,
            sequence=u64,
            outcome=st.sampled_from(Outcome),
            status_code=st.none() | st.integers(100, 999),
            delivered_bytes=st.none() | u64,
            ended_mono_ns=u64,
            error=st.none()
            | st.builds(ErrorInfo, type=st.text("abc_", max_size=64), message=st.text("aé", max_size=500)),
            truncated=st.booleans(),
        ),
        count=st.integers(0, 2**32 - 1),
        request_id=st.binary(min_size=16, max_size=16),
        late=st.booleans(),
        prefix=st.booleans(),
    )
)
def test_an_end_comes_back_as_it_was(end):
    assert frames.decode_end(frames.encode_end(end), end.end.ended_mono_ns) == end


@given(st.text(), st.text(min_size=300))
def test_an_end_never_needs_more_than_the_room_reserved_for_it(kind, message):
    error = ErrorInfo(kind * 30, message * 20)
    end = frames.EndFrame(End(0, Outcome.COMPLETE, 200, 1, 2, error), 3, bytes(16))
    payload = frames.encode_end(end)
    assert frames.HEADER_SIZE + len(payload) <= frames.END_ROOM
    cut = frames.decode_end(payload, 2).end.error
    assert error.message.startswith(cut.message)


@given(safe, safe, st.integers(0, 2**40))
def test_an_opening_comes_back_as_it_was(prefix, content, boot):
    settings = RecordSettings(prefix, 7, content, "1.2")
    value = openings.SegmentOpening(Opening("w-00000001", boot, settings, 9), 3, 5, 2, "host", recovered=True)
    assert openings.decode_open(openings.encode_open(value)) == value


@given(st.binary(max_size=200), st.integers(0, 2**31), st.integers(1, 2**31))
def test_a_frame_is_one_only_at_its_own_offset_and_under_its_own_marker(payload, at, elsewhere):
    data = frames.frame(MARKER, frames.Kind.RESPONSE_BODY, payload, at=at, number=1, exchange=2, mono_ns=3)
    head = frames.WHOLE_HEADER.unpack_from(data)
    for place in (at, at + elsewhere):
        again = frames.frame(
            MARKER, frames.Kind.RESPONSE_BODY, payload, at=place, number=1, exchange=2, mono_ns=3
        )
        assert (frames.WHOLE_HEADER.unpack_from(again)[8] == head[8]) == (place == at)


def test_a_file_header_stands_one_damaged_byte_anywhere():
    header = bytearray(frames.encode_file_header(MARKER))
    for at in range(len(header)):
        header[at] ^= 0xA5
        assert frames.decode_file_header(header, "x") == MARKER
        header[at] ^= 0xA5


def test_what_begins_no_segment_is_told_from_one():
    assert frames.decode_file_header(bytes(64), "x") is None
    assert frames.decode_file_header(b"", "x") is None
    assert frames.decode_file_header(b"<html>" * 20, "x") is None


def test_a_newer_format_is_refused_with_advice():
    header = frames._FILE_HEADER.pack(frames.MAGIC, *(frames.FORMAT_VERSION + 1, MARKER) * 3)
    with pytest.raises(JournalFormatError, match=r"seg: journal format 2, .* or a newer one"):
        frames.decode_file_header(header.ljust(64, b"\0"), "seg")
