"""One exchange of a writer: the methods that run for every call and every chunk.

They are the writer's hot half and reach into it on purpose. A frame is packed, summed and stored in line; a call
more per chunk would cost a tenth of the data path's time in the journal.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING
from zlib import crc32

from llm_audit.journal import crash
from llm_audit.journal.frames import (
    CRC,
    END_DELIVERED,
    END_FIXED,
    END_ROOM,
    END_STATUS,
    HEADER,
    HEADER_SIZE,
    LAST,
    MORE,
    OUTCOME_CODES,
    Kind,
    end_payload,
)
from llm_audit.record.schema import ErrorInfo, Outcome

if TYPE_CHECKING:
    from llm_audit.journal.writer import JournalWriter

LARGE = 16 * 1024
"""From this size on, a payload is copied into the segment by itself rather than joined to its header."""

_REQUEST_BODY, _RESPONSE, _RESPONSE_BODY, _END = (
    int(kind) for kind in (Kind.REQUEST_BODY, Kind.RESPONSE, Kind.RESPONSE_BODY, Kind.END)
)
_COMPLETE = Outcome.COMPLETE
_pack, _pack_crc, _pack_end = HEADER.pack, CRC.pack, END_FIXED.pack


class OpenExchange:
    """One exchange that was begun. Its frames are numbered from 0; ``end`` is the last call."""

    __slots__ = ("_home", "_request_id", "_writer", "count", "last_mono_ns", "number", "truncated")

    def __init__(self, writer: JournalWriter, number: int, request_id: bytes, count: int, now: int) -> None:
        self._writer = writer
        self._home = writer.home
        self._home[0] += 1
        self.number = number
        self._request_id = request_id
        self.count = count
        self.last_mono_ns = now
        """Time stamped on the last frame (``time.monotonic_ns()``)."""
        self.truncated = False
        """Set it where bytes were let through that the journal could not take (``AUDIT_WHEN_FULL=pass``)."""

    def request_body(self, data: bytes, *, last: bool) -> None:
        """Append a piece of the request's body. Raises JournalFullError or JournalFailedError."""
        self.append((_REQUEST_BODY, _REQUEST_BODY), b"", data, last=last)

    def append(self, kinds: tuple[int, int], start: bytes, data: bytes, *, last: bool) -> None:
        """Append a piece of a body, over several frames (the first kind, then the second) where it is long."""
        writer = self._writer
        view = memoryview(data)
        kind = kinds[0]
        while True:
            taken = writer.max_payload - len(start)
            piece, view = view[:taken], view[taken:]
            size = len(start) + len(piece)
            writer.make_room(HEADER_SIZE + size, 0)
            offset = writer.offset
            now = self.last_mono_ns = monotonic_ns()
            flags = MORE if view else LAST if last else 0
            head = _pack(writer.marker, kind, flags, 0, self.count, self.number, now, size)
            head += _pack_crc(crc32(piece, crc32(start, crc32(head, offset)))) + start
            at = offset + len(head)
            writer.map[offset:at] = head
            writer.map[at : at + len(piece)] = piece
            writer.offset = at + len(piece)
            self.count += 1
            if not view:
                return
            kind, start = kinds[1], b""

    def response(self, start: bytes, body: bytes, *, last: bool) -> None:
        """Append the response's head (``encode_response_start``) and the first piece of its body."""
        writer = self._writer
        offset = writer.offset
        size = len(start) + len(body)
        after = offset + HEADER_SIZE + size
        if after > writer.soft_end or size > LARGE:
            self.append((_RESPONSE, _RESPONSE_BODY), start, body, last=last)
            return
        now = self.last_mono_ns = monotonic_ns()
        head = _pack(writer.marker, _RESPONSE, last, 0, self.count, self.number, now, size)
        crc = _pack_crc(crc32(body, crc32(start, crc32(head, offset))))
        writer.map[offset:after] = b"".join((head, crc, start, body))
        writer.offset = after
        self.count += 1

    def response_body(self, data: bytes, *, last: bool) -> None:
        """Append a piece of the response's body as it was received; empty only to say that it is over."""
        writer = self._writer
        offset = writer.offset
        size = len(data)
        after = offset + HEADER_SIZE + size
        if after > writer.soft_end or size > LARGE:
            self.append((_RESPONSE_BODY, _RESPONSE_BODY), b"", data, last=last)
            return
        now = self.last_mono_ns = monotonic_ns()
        head = _pack(writer.marker, _RESPONSE_BODY, last, 0, self.count, self.number, now, size)
        writer.map[offset:after] = b"".join((head, _pack_crc(crc32(data, crc32(head, offset))), data))
        writer.offset = after
        self.count += 1

    def end(
        self,
        outcome: Outcome,
        status_code: int | None,
        delivered_bytes: int | None,
        error: ErrorInfo | None,
    ) -> int:
        """Append the END frame into the room kept for it; gives the sequence. Raises JournalFailedError."""
        writer = self._writer
        sequence = writer.next_sequence
        count = self.count
        if error is None and status_code is not None and delivered_bytes is not None and not self.truncated:
            payload = _pack_end(
                sequence, count + 1, 0 if outcome is _COMPLETE else OUTCOME_CODES[outcome], END_STATUS | END_DELIVERED, status_code,
                delivered_bytes, self._request_id,
            )  # fmt: skip
        else:
            payload = end_payload(
                sequence, count + 1, self._request_id, outcome, status_code, delivered_bytes, error,
                truncated=self.truncated,
            )  # fmt: skip
        size = HEADER_SIZE + len(payload)
        if writer.offset + size > writer.end_at:
            writer.room_for_end(size)
        offset = writer.offset
        now = self.last_mono_ns = monotonic_ns()
        head = _pack(writer.marker, _END, 0, 0, count, self.number, now, size - HEADER_SIZE)
        writer.map[offset : offset + size] = b"".join(
            (head, _pack_crc(crc32(payload, crc32(head, offset))), payload)
        )
        writer.offset = offset + size
        writer.reserve -= END_ROOM
        writer.soft_end += END_ROOM
        writer.open_count -= 1
        self._home[0] -= 1
        writer.next_sequence = sequence + 1
        self.count = -1  # no frame can carry that number: a second end, or a piece after it, is refused
        return sequence


crash.around(OpenExchange, "response", before="before-response", after="after-response")
crash.around(OpenExchange, "response_body", before="before-chunk", after="mid-stream")
crash.around(OpenExchange, "end", before="before-end", after="after-end")
