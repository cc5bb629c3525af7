"""The frame codec: the journal on disk, byte for byte. Pure.

``llm_audit.journal`` (the package's docstring) is the specification: layout, invariants, crash points. This
module is its bytes: every ``Struct`` and every code below is part of the format, and changing one raises
``FORMAT_VERSION``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Any
from zlib import crc32

from llm_audit.journal.model import (
    End,
    JournalFormatError,
    RequestStart,
    ResponseStart,
)
from llm_audit.record.schema import ErrorInfo, IdentitySource, Outcome

Buffer = bytes | bytearray | memoryview

MAGIC = b"LLMAUDJ\n"
FORMAT_VERSION = 1

FILE_HEADER_SIZE = 64
_FILE_HEADER = Struct("<8sH8sH8sH8s")
"""Magic, then version and marker three times: of each, the majority counts."""
MARKER_SIZE = 8

HEADER = Struct("<8sBBHIQQI")
"""Marker, kind, flags, reserved, number within the exchange, exchange, mono_ns, payload length."""
CRC = Struct("<I")
WHOLE_HEADER = Struct("<8sBBHIQQII")
"""``HEADER`` followed by the CRC-32 (zlib's) of header and payload, seeded with the frame's file offset."""
HEADER_SIZE = WHOLE_HEADER.size
LENGTH_AT = 32
"""Where in the header the payload's length stands."""

MAX_PAYLOAD = 1 << 20
"""Longer pieces are split over frames (``MORE``), so that a search for the next frame stays short."""

UNDECODABLE = (ValueError, LookupError, struct.error)
"""What decoding a payload raises that no writer makes. A right sum does not rule that out: a header that was put right
by mistake has one, too. Such a frame is damage, and costs its own exchange only."""


class Kind(IntEnum):
    """What a frame holds."""

    REQUEST = 1
    REQUEST_BODY = 2
    RESPONSE = 3
    RESPONSE_BODY = 4
    END = 5
    OPEN = 6
    CLOSE = 7


KINDS = frozenset(int(kind) for kind in Kind)

LAST = 1
"""Flag: the body ends with this frame."""
MORE = 2
"""Flag: the piece goes on in the exchange's next frame (it was longer than a frame may be)."""

_START = Struct("<16sQQB8I")
_LENGTHS = Struct("<33x8I")
"""The lengths in ``_START`` alone."""
_ABSENT = 0xFFFFFFFF
_IDENTITY_CODES = {IdentitySource.CLAIMED: 0, IdentitySource.KEY: 1, IdentitySource.GATEWAY: 2}
_IDENTITIES = {code: identity for identity, code in _IDENTITY_CODES.items()}
_STATUS = Struct("<HI")
_START_SIZE, _STATUS_SIZE = _START.size, _STATUS.size
_RESPONSE = int(Kind.RESPONSE)  # an attribute of an enumeration costs ten times a global

_END = Struct("<QIBBHQ16s")
_OUTCOME_CODES = {
    Outcome.COMPLETE: 0,
    Outcome.CLIENT_DISCONNECTED: 1,
    Outcome.UPSTREAM_ERROR: 2,
    Outcome.UPSTREAM_TIMEOUT: 3,
    Outcome.REJECTED: 4,
    Outcome.INTERRUPTED: 5,
}
_OUTCOMES = {code: outcome for outcome, code in _OUTCOME_CODES.items()}
_HAS_STATUS, _HAS_DELIVERED, _HAS_ERROR, _TRUNCATED, _LATE, _PREFIX = 1, 2, 4, 8, 16, 32
_ERROR_TYPE_LIMIT, _ERROR_MESSAGE_LIMIT = 64, 1024
END_FIXED, END_STATUS, END_DELIVERED, OUTCOME_CODES = _END, _HAS_STATUS, _HAS_DELIVERED, _OUTCOME_CODES
"""For the writer, which packs the common END frame in line."""

END_ROOM = HEADER_SIZE + _END.size + 1 + _ERROR_TYPE_LIMIT + _ERROR_MESSAGE_LIMIT
"""Bytes that no END frame exceeds: what admission reserves for each open exchange."""


def frame(marker: bytes, kind: int, payload: bytes, *, at: int, number: int = 0, exchange: int = 0,
          mono_ns: int = 0, flags: int = 0) -> bytes:  # fmt: skip
    """Give one whole frame for file offset ``at``. The writer's hot path does the same in line."""
    head = HEADER.pack(marker, kind, flags, 0, number, exchange, mono_ns, len(payload))
    return b"".join((head, CRC.pack(crc32(payload, crc32(head, at))), payload))


def is_frame(view: memoryview, at: int, marker: bytes) -> bool:
    """Whether a whole, undamaged frame of the segment with this marker stands at ``at``."""
    if at + HEADER_SIZE > len(view):
        return False
    head = WHOLE_HEADER.unpack_from(view, at)
    end = at + HEADER_SIZE + head[7]
    if head[0] != marker or end > len(view):
        return False
    crc = crc32(view[at : at + HEADER.size], at)
    return bool(crc32(view[at + HEADER_SIZE : end], crc) == head[8])


# The file's header.


def encode_file_header(marker: bytes) -> bytes:
    """Give the first ``FILE_HEADER_SIZE`` bytes of a segment."""
    packed = _FILE_HEADER.pack(MAGIC, *(FORMAT_VERSION, marker) * 3)
    return packed.ljust(FILE_HEADER_SIZE, b"\0")


def decode_file_header(data: Buffer, name: str) -> bytes | None:
    """Give the segment's marker, or None where these bytes begin no segment (or one not yet made).

    One damaged byte anywhere changes nothing. Raises JournalFormatError for a format newer than ours.
    """
    if len(data) < FILE_HEADER_SIZE:
        return None
    magic, *pairs = _FILE_HEADER.unpack_from(data)
    if sum(a != b for a, b in zip(magic, MAGIC, strict=True)) > 1:
        return None
    version = _majority(pairs[0::2])
    marker = _majority(pairs[1::2])
    if version is None or marker is None:
        return None
    if version > FORMAT_VERSION:
        raise JournalFormatError(
            f"{name}: journal format {version}, and this version reads up to {FORMAT_VERSION}; "
            "run the version of llm-audit that wrote it, or a newer one"
        )
    assert isinstance(marker, bytes)
    return marker


def _majority(values: list[Any]) -> Any:
    first, second, third = values
    if first in (second, third):
        return first
    return second if second == third else None


# REQUEST and RESPONSE: a start of known length, then the first piece of the body.


def encode_request_start(
    *,
    request_id: bytes,
    started_wall_ns: int,
    started_mono_ns: int,
    method: str,
    target: str,
    header_lines: bytes,
    client_address: str,
    identity_source: IdentitySource,
    key_id: str | None,
    source: str | None,
    user: str | None,
    request_type: str | None,
) -> bytes:
    """Encode the fields of ``RequestStart``; the request id's 16 bytes stand first."""
    parts: tuple[bytes | None, ...]
    try:
        parts = (
            method.encode(),
            target.encode(),
            header_lines,
            client_address.encode(),
            None if key_id is None else key_id.encode(),
            None if source is None else source.encode(),
            None if user is None else user.encode(),
            None if request_type is None else request_type.encode(),
        )
    except UnicodeEncodeError:
        encoded = _encoded(method, target, client_address, key_id, source, user, request_type)
        parts = (*encoded[:2], header_lines, *encoded[2:])
    fixed = _START.pack(
        request_id,
        started_wall_ns,
        started_mono_ns,
        _IDENTITY_CODES[identity_source],
        *[_ABSENT if part is None else len(part) for part in parts],
    )
    return fixed + b"".join([part for part in parts if part])


def encode_start_without_request(request_id: bytes, started_wall_ns: int, started_mono_ns: int) -> bytes:
    """Encode the start of a record that stands for many calls, and so has no request of its own."""
    return encode_request_start(
        request_id=request_id,
        started_wall_ns=started_wall_ns,
        started_mono_ns=started_mono_ns,
        method="",
        target="",
        header_lines=b"",
        client_address="",
        identity_source=IdentitySource.CLAIMED,
        key_id=None,
        source=None,
        user=None,
        request_type=None,
    )


def _encoded(*texts: str | None) -> list[bytes | None]:
    """Encode texts with lone surrogates in them: whatever the caller has, the journal keeps."""
    return [None if text is None else text.encode("utf-8", "surrogatepass") for text in texts]


def decode_request_start(start: Buffer) -> RequestStart:
    """Read what ``encode_request_start`` gave."""
    request_id, wall, mono, identity, *lengths = _START.unpack_from(start)
    at = _START.size
    data = bytes(start)
    parts: list[bytes | None] = []
    for length in lengths:
        if length == _ABSENT:
            parts.append(None)
            continue
        parts.append(data[at : at + length])
        at += length
    method, target, lines, address, key_id, source, user, request_type = parts
    return RequestStart(
        request_id=request_id,
        started_wall_ns=wall,
        started_mono_ns=mono,
        method=_text(method) or "",
        target=_text(target) or "",
        header_lines=lines or b"",
        client_address=_text(address) or "",
        identity_source=_IDENTITIES[identity],
        key_id=_text(key_id),
        source=_text(source),
        user=_text(user),
        request_type=_text(request_type),
    )


def _text(part: bytes | None) -> str | None:
    return None if part is None else part.decode("utf-8", "surrogatepass")


def encode_response_start(status: int, header_lines: bytes) -> bytes:
    """Encode the fields of ``ResponseStart``."""
    return _STATUS.pack(status, len(header_lines)) + header_lines


def decode_response_start(start: Buffer) -> ResponseStart:
    """Read what ``encode_response_start`` gave."""
    return ResponseStart(_STATUS.unpack_from(start)[0], bytes(start[_STATUS.size :]))


def split_start(kind: int, payload: memoryview) -> tuple[memoryview, memoryview]:
    """Part a REQUEST or RESPONSE payload into its start, which says its own length, and its piece of the body."""
    cut = start_length(kind, payload)
    return payload[:cut], payload[cut:]


def start_length(kind: int, payload: memoryview) -> int:
    """Bytes that a REQUEST or RESPONSE payload's start takes, by what it says itself."""
    if kind == _RESPONSE:
        return _STATUS_SIZE + int(_STATUS.unpack_from(payload)[1])
    # Each absent part counts as ``_ABSENT``, and all others together are less than that.
    return _START_SIZE + int(sum(_LENGTHS.unpack_from(payload)) % _ABSENT)


# END.


@dataclass(frozen=True, slots=True)
class EndFrame:
    """An END frame's payload; ``end.ended_mono_ns`` is kept in the frame's header."""

    end: End
    count: int
    """Frames of the exchange, this one included."""
    request_id: bytes
    late: bool = False
    """Recovery wrote it for a sequence whose END frame a power cut took, between others that stayed."""
    prefix: bool = False
    """Frames numbered ``count - 1`` and above belong to what a power cut tore; those before are whole."""


def end_payload(
    sequence: int,
    count: int,
    request_id: bytes,
    outcome: Outcome,
    status_code: int | None,
    delivered_bytes: int | None,
    error: ErrorInfo | None,
    *,
    truncated: bool,
    bits: int = 0,
) -> bytes:
    """Give an END frame's payload; the error's texts are cut so that the frame fits ``END_ROOM``."""
    if status_code is not None:
        bits |= _HAS_STATUS
    if delivered_bytes is not None:
        bits |= _HAS_DELIVERED
    if truncated:
        bits |= _TRUNCATED
    if error is not None:
        bits |= _HAS_ERROR
    fixed = _END.pack(
        sequence, count, _OUTCOME_CODES[outcome], bits, status_code or 0, delivered_bytes or 0, request_id
    )
    if error is None:
        return fixed
    kind = _cut(error.type, _ERROR_TYPE_LIMIT)
    return b"".join((fixed, bytes((len(kind),)), kind, _cut(error.message, _ERROR_MESSAGE_LIMIT)))


def encode_end(value: EndFrame) -> bytes:
    """Give an END frame's payload (its time goes into the header)."""
    end = value.end
    return end_payload(
        end.sequence,
        value.count,
        value.request_id,
        end.outcome,
        end.status_code,
        end.delivered_bytes,
        end.error,
        truncated=end.truncated,
        bits=value.late * _LATE | value.prefix * _PREFIX,
    )


def _cut(text: str, limit: int) -> bytes:
    """UTF-8 of at most ``limit`` bytes, cut between characters."""
    data = text.encode("utf-8", "backslashreplace")
    return data if len(data) <= limit else data[:limit].decode("utf-8", "ignore").encode()


def decode_end(payload: Buffer, ended_mono_ns: int) -> EndFrame:
    """Read what ``encode_end`` gave; the time comes from the frame's header."""
    sequence, count, outcome, bits, status, delivered, request_id = _END.unpack_from(payload)
    error = None
    if bits & _HAS_ERROR:
        cut = _END.size + 1 + payload[_END.size]
        error = ErrorInfo(bytes(payload[_END.size + 1 : cut]).decode(), bytes(payload[cut:]).decode())
    end = End(
        sequence=sequence,
        outcome=_OUTCOMES[outcome],
        status_code=status if bits & _HAS_STATUS else None,
        delivered_bytes=delivered if bits & _HAS_DELIVERED else None,
        ended_mono_ns=ended_mono_ns,
        error=error,
        truncated=bool(bits & _TRUNCATED),
    )
    return EndFrame(end, count, request_id, bool(bits & _LATE), bool(bits & _PREFIX))
