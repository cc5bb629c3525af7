"""Reads one writer's journal while it is written, and frees it: the shipper's side.

What ``poll`` gives is durable: the reader syncs what it read before it gives it out. So whatever was shipped
is still there after a power cut, and recovery never gives a shipped sequence to another exchange.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from llm_audit.journal.assemble import SEGMENT_SHIFT, Ended, Gathered
from llm_audit.journal.boot import BootReader
from llm_audit.journal.carry import Freed, carry_over
from llm_audit.journal.files import segment_names, used_bytes
from llm_audit.journal.frames import (
    UNDECODABLE,
    Kind,
    decode_request_start,
    decode_response_start,
    split_start,
)
from llm_audit.journal.model import Chunk, EndedExchange, JournalFailedError, RequestStart, ResponseStart
from llm_audit.journal.pieces import RequestPieces, ResponseChunks, payload_of

_QUARANTINE_LIMIT = 64 << 20
"""Bytes of a damaged exchange's frames that are kept at most."""


class WriterReader:
    """One writer directory, boot after boot, exchange after exchange.

    Not thread-safe. A reader that starts anew gives everything again that still lies in the directory: the
    caller knows by (boot, sequence) what it has stored, and says so again with ``stored``. Such an exchange may
    come back damaged, for its earlier segments may be freed already; what was stored is never built again.
    """

    def __init__(self, directory: Path, *, sync: Callable[[int], None] = os.fdatasync) -> None:
        self.directory = directory
        self._sync = sync
        self._boots: dict[int, BootReader] = {}
        self._boot: BootReader | None = None
        self._waiting: list[EndedExchange] = []
        self._unstored: dict[tuple[int, int], EndedExchange] = {}

    def poll(self, limit: int = 256) -> list[EndedExchange]:
        """Give up to ``limit`` newly ended exchanges, in order of boot and sequence; [] if there are none.

        Bodies are read from the journal when they are asked for, until ``stored`` is told and ``collect`` run.
        Raises JournalFailedError if what was read cannot be made durable; nothing is given then.
        """
        ready = self._waiting
        while len(ready) < limit:
            if self._boot is None and not self._enter_boot():
                break
            boot = self._boot
            assert boot is not None
            over = self._has_later_boot(boot.boot)
            ended = boot.advance(limit - len(ready), over=over)
            if not ended and over:
                if not boot.assembly.closed:
                    boot.assembly.finish()
                    ended = boot.assembly.ended[:]
                    boot.assembly.ended.clear()
                self._boot = None
            ready.extend(self._build(boot, one) for one in ended)
            if not ended and not over:
                break
        if ready:
            self._make_durable()
            for one in ready:
                self._unstored[one.opening.boot, one.sequence] = one
        self._waiting = ready[limit:]
        return ready[:limit]

    def open_exchanges(self) -> int:
        """Count the exchanges that were read and have not ended."""
        return sum(len(boot.assembly.open) for boot in self._boots.values())

    def backlog_bytes(self) -> int:
        """Bytes of disk that this writer's files occupy."""
        return used_bytes(self.directory)

    def unstored(self) -> int:
        """Count the exchanges that ``poll`` gave and ``stored`` has not confirmed."""
        return len(self._unstored)

    def oldest_unstored_wall_ns(self) -> int | None:
        """Give when the longest waiting exchange of those began; None if none waits or its start is unreadable."""
        first = next(iter(self._unstored.values()), None)
        return None if first is None or first.request is None else first.request.started_wall_ns

    def stored(self, ended: EndedExchange) -> None:
        """Take note that this exchange's record is stored, durably; its frames may go."""
        self._unstored.pop((ended.opening.boot, ended.sequence), None)

    def collect(self) -> Freed:
        """Delete, oldest first, the segments whose exchanges are all stored; carry over what is still open.

        Stops at the first segment that holds a frame of an exchange that ended and is not stored: an END frame
        is never deleted while earlier frames of its exchange remain, or they would seem open for ever. The
        segment that is being written, or read, stays.
        """
        freed = Freed()
        for number in sorted(self._boots):
            boot = self._boots[number]
            needed = {
                segment
                for (of_boot, _), ended in self._unstored.items()
                if of_boot == number
                for segment in ended.segments
            }
            if not self._collect_boot(boot, needed, freed):
                break
            if boot is not self._boot and not boot.segments:
                del self._boots[number]
        return freed

    def _collect_boot(self, boot: BootReader, needed: set[int], freed: Freed) -> bool:
        """Free what may go of one boot; False where something has to stay, so that later boots wait."""
        if boot.assembly.unread_ends:
            return False
        # What is unreadable of an open exchange can't be carried over, and is evidence: it stays.
        needed |= {ref >> SEGMENT_SHIFT for held in boot.assembly.open.values() for ref, _ in held.bad}
        removable: list[int] = []
        for number in sorted(boot.segments):
            if number not in boot.done or number in needed:
                break
            removable.append(number)
        held = boot.assembly.open_segments()
        while removable and removable[-1] in held and boot.segments[removable[-1]].name.carry:
            removable.pop()  # nothing after it goes, so it need not be written again
        for number in removable:
            carry_over(boot, number, freed, pinned=number in held)
        return not boot.segments

    def close(self) -> None:
        """Unmap everything; bodies that were not read can't be read any more."""
        for boot in self._boots.values():
            boot.close()
        self._boots.clear()
        self._boot = None

    def _enter_boot(self) -> bool:
        last = max(self._boots, default=-1)
        for name in segment_names(self.directory):
            if name.boot > last:
                self._boot = self._boots[name.boot] = BootReader(self.directory, name.boot)
                return True
        return False

    def _has_later_boot(self, boot: int) -> bool:
        names = segment_names(self.directory)
        return bool(names) and names[-1].boot > boot

    def _make_durable(self) -> None:
        for boot in self._boots.values():
            for segment in boot.segments.values():
                if segment.scan.at > segment.synced_to:
                    read_to = segment.scan.at
                    try:
                        self._sync(segment.fd)
                    except OSError as error:
                        raise JournalFailedError(
                            f"syncing {segment.name} in {self.directory}: {error}"
                        ) from error
                    segment.synced_to = read_to

    def _build(self, boot: BootReader, ended: Ended) -> EndedExchange:
        gathered = ended.gathered or Gathered(0)
        damage = ended.damage
        request, response, problem = _starts(boot, gathered)
        end = ended.end
        if end is not None and any(end.request_id):
            request_id: bytes | None = end.request_id
        else:
            request_id = None if request is None else request.request_id
        return EndedExchange(
            opening=boot.opening,
            sequence=ended.sequence,
            request_id=request_id,
            request=request,
            request_body=RequestPieces(boot.segments, gathered.request),
            response=response,
            chunks=_chunks(boot, gathered),
            end=None if end is None else end.end,
            damage=damage or problem,
            damaged_frames=b"" if (damage or problem) is None else _raw_frames(boot, gathered),
            segments=frozenset((*gathered.segments, ended.segment)),
        )


def _chunks(boot: BootReader, gathered: Gathered) -> Sequence[Chunk]:
    return ResponseChunks(boot.segments, gathered.chunks)


def _starts(
    boot: BootReader, gathered: Gathered
) -> tuple[RequestStart | None, ResponseStart | None, str | None]:
    """Decode what can be decoded; bytes with a right checksum that cannot be are damage, not an error."""
    request, response, problem = None, None, None
    try:
        if gathered.request:
            kind, _, payload = payload_of(boot.segments, gathered.request[0])
            if kind == Kind.REQUEST:
                request = decode_request_start(split_start(kind, payload)[0])
        if gathered.response is not None:
            kind, _, payload = payload_of(boot.segments, gathered.response)
            response = decode_response_start(split_start(kind, payload)[0])
    except UNDECODABLE as error:
        problem = f"its frames cannot be decoded: {error}"
    return request, response, problem


def _raw_frames(boot: BootReader, gathered: Gathered) -> bytes:
    """Give the bytes of its frames as they lie in the journal, readable or not, in order."""
    places: list[tuple[int, int]] = [
        *((ref, 0) for ref in gathered.references()),
        *gathered.bad,
    ]
    parts: list[bytes] = []
    total = 0
    for ref, length in sorted(places):
        segment = boot.segments.get(ref >> SEGMENT_SHIFT)
        if segment is None or total > _QUARANTINE_LIMIT:
            continue
        at = ref & ((1 << SEGMENT_SHIFT) - 1)
        raw = segment.raw(at, length)
        total += len(raw)
        parts.append(raw)
    return b"".join(parts)
