"""Restores a frame's header where one byte of it is damaged. Pure.

The checksum covers header and payload, so a damaged header byte and a damaged payload byte look alike at
first: the sum is wrong. But only for a damaged header byte is there a byte to put back that makes the sum
right: 40 places, 255 values each, less what the format rules out. CRC-32 is linear, so one pass over the payload
tells, for all places but the length's, what a change in the header would do to the sum at the end.
"""

from __future__ import annotations

from functools import cache
from zlib import crc32

from llm_audit.journal.frames import (
    CRC,
    HEADER,
    HEADER_SIZE,
    KINDS,
    LENGTH_AT,
    MARKER_SIZE,
    MAX_PAYLOAD,
    WHOLE_HEADER,
)

_KIND_AT = MARKER_SIZE
_ZEROS = 4096
_BLOCK = bytes(32 * 1024)


def restore_header(view: memoryview, at: int, marker: bytes) -> bytes | None:
    """Give the ``HEADER_SIZE`` bytes that stood at ``at`` before one of them was damaged; None if none did.

    ``view`` is the whole segment. A frame whose payload is damaged, or that is torn, gives None.
    """
    if at + HEADER_SIZE > len(view):
        return None
    found = bytes(view[at : at + HEADER_SIZE])
    wrong = [place for place in range(MARKER_SIZE) if found[place] != marker[place]]
    if len(wrong) > 1:
        return None
    if wrong:
        candidate = marker + found[MARKER_SIZE:]
        return candidate if _fits(view, at, candidate) else None
    return _by_linearity(view, at, found) or _by_length(view, at, found)


def _fits(view: memoryview, at: int, header: bytes) -> bool:
    """Whether the payload at ``at`` has the sum that this header says."""
    _, kind, _, reserved, _, _, _, length, crc = WHOLE_HEADER.unpack(header)
    end = at + HEADER_SIZE + length
    if kind not in KINDS or reserved or length > MAX_PAYLOAD or end > len(view):
        return False
    return bool(crc32(view[at + HEADER_SIZE : end], crc32(header[: HEADER.size], at)) == crc)


def _by_linearity(view: memoryview, at: int, found: bytes) -> bytes | None:
    """Try every byte of the header but marker and length, at the price of a few passes over the payload."""
    length = WHOLE_HEADER.unpack(found)[7]
    end = at + HEADER_SIZE + length
    if length > MAX_PAYLOAD or end > len(view):
        return None
    head = found[: HEADER.size]
    before = crc32(head, at)
    differs = crc32(view[at + HEADER_SIZE : end], before) ^ CRC.unpack(found[HEADER.size :])[0]
    if differs.bit_count() <= 8 and sum(byte > 0 for byte in CRC.pack(differs)) == 1:
        candidate = head + CRC.pack(CRC.unpack(found[HEADER.size :])[0] ^ differs)
        return candidate if _fits(view, at, candidate) else None
    # The change of the sum after the header that makes this change of the sum after the payload, and whose it is.
    place, change = _effects().get(_before_zeros(differs, length), (0, 0))
    candidate = head[:place] + bytes((head[place] ^ change,)) + found[place + 1 :]
    return candidate if change and _fits(view, at, candidate) else None


@cache
def _effects() -> dict[int, tuple[int, int]]:
    """Give what changing a byte of the header does to the sum after it: the same whatever else is in the header."""
    ground = crc32(bytes(HEADER.size))
    effects: dict[int, tuple[int, int]] = {}
    for place in range(_KIND_AT, LENGTH_AT):
        for change in range(1, 256):
            changed = bytes(place) + bytes((change,)) + bytes(HEADER.size - place - 1)
            effects[crc32(changed) ^ ground] = place, change
    return effects


def _before_zeros(difference: int, length: int) -> int:
    """Give the difference of sums that ``length`` more bytes turn into this one (which bytes does not matter)."""
    zeros = bytes(length)
    ground = crc32(zeros, 0)
    # Gauss over bits: rows of (what a difference becomes, the difference), by leading bit.
    rows: dict[int, tuple[int, int]] = {}
    for bit in range(32):
        image, origin = crc32(zeros, 1 << bit) ^ ground, 1 << bit
        while image.bit_length() in rows:
            other = rows[image.bit_length()]
            image, origin = image ^ other[0], origin ^ other[1]
        rows[image.bit_length()] = image, origin
    result = 0
    while difference:
        image, origin = rows[difference.bit_length()]
        difference ^= image
        result ^= origin
    return result


def _by_length(view: memoryview, at: int, found: bytes) -> bytes | None:
    """Try every byte of the length where a frame, or nothing at all, follows the payload that it names.

    Where nothing follows, a payload is taken to end at most a page of zeros after the last other byte.
    """
    marker = found[:MARKER_SIZE]
    length = WHOLE_HEADER.unpack(found)[7]
    last_end = min(len(view), at + HEADER_SIZE + MAX_PAYLOAD)
    written_to = _written_to(view, at, last_end)
    for place in range(LENGTH_AT, HEADER.size):
        for value in range(256):
            shift = 8 * (place - LENGTH_AT)
            end = at + HEADER_SIZE + (length & ~(0xFF << shift) | value << shift)
            if end > last_end:
                break
            follows = view[end : end + MARKER_SIZE] == marker or written_to <= end < written_to + _ZEROS
            if follows:
                candidate = found[:place] + bytes((value,)) + found[place + 1 :]
                if _fits(view, at, candidate):
                    return candidate
    return None


def _written_to(view: memoryview, start: int, stop: int) -> int:
    """Give the offset after the last byte from ``start`` to ``stop`` that is not zero."""
    while stop - start > len(_BLOCK) and bytes(view[stop - len(_BLOCK) : stop]) == _BLOCK:
        stop -= len(_BLOCK)
    start = max(start, stop - len(_BLOCK))
    return start + len(bytes(view[start:stop]).rstrip(b"\0"))
