"""Appends frames: the data path's end of the journal.

An append is a copy into a mapped, preallocated segment: no system call, nothing to wait for, and it survives the
death of the process. The methods on the hot path (``begin``, ``response_body``, ``end``) are written straight, with
the frame put together in line; everything rare is behind ``make_room``.

Room: a frame is taken only if, after it, the END frames of all open exchanges still fit: into what is left of this
segment, or into the next one, which is there already. ``soft_end`` is this segment's end less their reserve: below
it an append asks nothing.
"""

from __future__ import annotations

import asyncio
import mmap
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic_ns, time_ns
from zlib import crc32

from llm_audit.journal import crash
from llm_audit.journal.counted import UNAUDITED, CountedCalls
from llm_audit.journal.exchange import LARGE, OpenExchange
from llm_audit.journal.files import (
    disk_errors,
    host_boot,
    next_boot,
    prepare_directory,
    probe,
    remove_temporaries,
    take_lock,
)
from llm_audit.journal.frames import (
    CRC,
    END_ROOM,
    HEADER,
    HEADER_SIZE,
    MAX_PAYLOAD,
    Kind,
    frame,
)
from llm_audit.journal.model import (
    Durability,
    JournalFailedError,
    JournalFullError,
    Opening,
    RecordSettings,
)
from llm_audit.journal.openings import SegmentOpening, encode_close
from llm_audit.journal.recovery import recover
from llm_audit.journal.refusals import RefusalShare
from llm_audit.journal.segments import Segment, SpareMaker, Sync, segment_bytes
from llm_audit.journal.syncer import Syncer
from llm_audit.record.schema import ErrorInfo, Outcome

__all__ = ["JournalWriter", "OpenExchange"]

_REQUEST, _REQUEST_BODY = int(Kind.REQUEST), int(Kind.REQUEST_BODY)
_pack, _pack_crc = HEADER.pack, CRC.pack
_PATIENCE_S = 1.0
"""How long an append waits for a segment that is being prepared; only a disk slower than the traffic lets it."""
_COUNTED_ROOM = 4096


def _take_boot(directory: Path, settings: RecordSettings, sync: Sync) -> Opening:
    """End what dead boots left open, and take the next boot's number. The lock is held."""
    probe(directory)
    remove_temporaries(directory)
    recover(directory, sync)
    opening = Opening(directory.name, next_boot(directory), settings, time_ns())
    crash.point("boot-numbered")
    return opening


class JournalWriter:
    """One boot of one writer. Not thread-safe: everything is called on the event loop's thread."""

    def __init__(
        self,
        lock: int,
        opening: Opening,
        spares: SpareMaker,
        syncer: Callable[[JournalWriter], Syncer],
        counts: CountedCalls,
        limit_bytes: int,
        *,
        host: bool,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self.opening = opening
        self.limit_bytes = limit_bytes
        self.open_count = 0
        self.next_sequence = 0
        self._lock = lock
        self._spares = spares
        self._host = host
        self._on_failure = on_failure
        self._failure: Exception | None = None
        self._closed = False
        self._exchanges = 0
        self.reserve = 0
        self.max_payload = min(MAX_PAYLOAD, spares.size // 8)
        self.counts = counts
        """Calls that get no record of their own. They may be counted after this boot's end too, without a writer."""
        self._refusals = RefusalShare(counts.directory, opening.boot, limit_bytes)
        self._host_boot = host_boot()
        self._homes: list[list[int]] = []
        self.home = [0, 0]  # for the segment being filled: open exchanges that began in it, and its number
        self._segment: Segment
        self.map: mmap.mmap
        self.marker: bytes
        self.offset: int
        self._opening_bytes: int
        self.end_at: int
        self.soft_end: int
        self._use(spares.first())
        self._syncer = syncer(self)

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        settings: RecordSettings,
        durability: Durability,
        limit_bytes: int,
        loop: asyncio.AbstractEventLoop | None,
        on_failure: Callable[[Exception], None],
        sync: Sync = os.fdatasync,
    ) -> JournalWriter:
        """Take the directory's lock, end what a dead writer left open, and open the next boot.

        ``limit_bytes``: this writer's share of ``AUDIT_JOURNAL_MAX_BYTES``. Without a loop, ``when_durable``
        syncs by itself before it calls back. Raises JournalLockedError, JournalFullError where the disk is full,
        JournalFailedError where a probe can't be written and synced, UnfitFilesystemError.
        """
        size = segment_bytes(limit_bytes)
        with disk_errors(directory):
            prepare_directory(directory)
            lock = take_lock(directory)
            try:
                opening = _take_boot(directory, settings, sync)
                counts = CountedCalls(directory)
                counts.settle_closed_boots()
                spares = SpareMaker(directory, opening.boot, size, limit_bytes)
                return cls(
                    lock,
                    opening,
                    spares,
                    lambda writer: Syncer(writer.position, writer.counts, loop, sync, writer.fail),
                    counts,
                    limit_bytes,
                    host=durability == Durability.HOST,
                    on_failure=on_failure,
                )
            except BaseException:
                os.close(lock)
                raise

    # State, for /health and status.

    @property
    def is_failed(self) -> bool:
        """Whether a sync failed: nothing more can be appended, and a new boot must be opened."""
        return self._failure is not None

    @property
    def used_bytes(self) -> int:
        """Bytes of disk in the writer's directory, when last looked at (at each new segment)."""
        return self._spares.used_bytes

    @property
    def blocked(self) -> str | None:
        """Why no further segment can be made, if so: limit reached, disk full."""
        return self._spares.blocked

    def position(self) -> tuple[Segment, int]:
        """Give the segment that is being filled, and up to where."""
        return self._segment, self.offset

    # Admission.

    def has_room(self, bytes_wanted: int) -> bool:
        """Whether a new exchange of so many bytes can be taken now."""
        wanted = bytes_wanted + END_ROOM + HEADER_SIZE * (4 + bytes_wanted // self.max_payload)
        if self.offset + wanted <= self.soft_end:
            return True
        if self._failure is not None:
            return False
        room = self._spares.room()
        if not room:
            return False
        beyond = max(0, self.limit_bytes - self._spares.used_bytes) * 7 // 8
        return self.reserve + wanted <= room + beyond

    def room_for_refusal(self, bytes_wanted: int) -> bool:
        """Take room for a refused call's record, of which all together may fill 5% of the journal."""
        if not self._refusals.fits(bytes_wanted) or not self.has_room(bytes_wanted):
            return False
        self._refusals.take(self._segment.name.number, bytes_wanted)
        return True

    def tell_counted(self, *, is_last: bool = False) -> None:
        """Put calls that were only counted on record, where there is room; ``is_last``: refusals beyond their share."""
        boot = self.opening.boot
        told = False
        for counted in self.counts.pending():
            is_free = is_last or counted.reason == UNAUDITED
            if (self.has_room if is_free else self.room_for_refusal)(_COUNTED_ROOM):
                self.counts.will_be_told(counted, boot, self.next_sequence)
                try:
                    exchange = self.begin(counted.start(monotonic_ns() - counted.span_ns), b"", last=True)
                except JournalFullError:
                    self.counts.settle(boot, self.next_sequence)
                    return
                exchange.end(counted.outcome, counted.reason.status, None, counted.error())
                told = True
        if told:
            self._syncer.when_durable(partial(self.counts.settle, boot, self.next_sequence))

    # Appending.

    def begin(self, start: bytes, body: bytes, *, last: bool) -> OpenExchange:
        """Append a REQUEST frame: ``start`` from ``encode_request_start``, and the body's first piece.

        Raises JournalFullError (nothing was written, or the exchange was ended as ``interrupted``) or
        JournalFailedError.
        """
        offset = self.offset
        size = len(start) + len(body)
        after = offset + HEADER_SIZE + size
        if after > self.soft_end - END_ROOM or size > LARGE:
            return self._begin_slowly(start, body, last=last)
        self._exchanges = number = self._exchanges + 1
        now = monotonic_ns()
        head = _pack(self.marker, _REQUEST, last, 0, 0, number, now, size)
        crc = _pack_crc(crc32(body, crc32(start, crc32(head, offset))))
        self.map[offset:after] = b"".join((head, crc, start, body))
        self.offset = after
        self.reserve += END_ROOM
        self.soft_end -= END_ROOM
        self.open_count += 1
        return OpenExchange(self, number, start[:16], 1, now)

    def _begin_slowly(self, start: bytes, body: bytes, *, last: bool) -> OpenExchange:
        if len(start) > self.max_payload:
            raise ValueError(f"a request start of {len(start)} bytes; at most {self.max_payload} fit a frame")
        if self._failure is not None:
            raise self._failed()
        wanted = len(start) + len(body)
        if not self.has_room(wanted) and not (self._spares.wait(_PATIENCE_S) and self.has_room(wanted)):
            raise self._full()
        self.make_room(HEADER_SIZE + min(wanted, self.max_payload), END_ROOM)
        self._exchanges += 1
        self.reserve += END_ROOM
        self.soft_end -= END_ROOM
        self.open_count += 1
        exchange = OpenExchange(self, self._exchanges, start[:16], 0, 0)
        try:
            exchange.append((_REQUEST, _REQUEST_BODY), start, body, last=last)
        except JournalFullError as error:
            exchange.end(Outcome.INTERRUPTED, None, None, ErrorInfo("journal_full", str(error)))
            raise
        return exchange

    def room_for_end(self, size: int) -> None:
        """Go on in the next segment, where an END frame no longer fits this one: room for it is reserved there."""
        if self._failure is not None:
            raise self._failed()
        if self.offset + size > self.end_at:
            self._roll()

    def make_room(self, wanted: int, more_reserve: int) -> None:
        """See to it that a frame of ``wanted`` bytes fits at ``_offset``, and all END frames after it."""
        if self._failure is not None:
            raise self._failed()
        reserve = self.reserve + more_reserve
        if self.offset + wanted + reserve <= self.end_at:
            return
        if not self._spares.room() and not self._spares.wait(_PATIENCE_S):
            raise self._full()
        room = self._spares.room() - 2 * HEADER_SIZE - self._opening_bytes
        if self.offset + wanted <= self.end_at and reserve <= room:
            return
        if wanted + reserve > room:
            raise self._full()
        self._roll()

    def _roll(self) -> None:
        """Go on in the next segment. Its name and header are durable already."""
        crash.point("before-roll")
        left = self._segment
        self._use(self._spares.take())
        self._syncer.left.append(left)
        crash.point("after-roll")

    def _use(self, segment: Segment) -> None:
        self._segment = segment
        self._homes = [home for home in self._homes if home[0]]
        self.home = [0, segment.name.number]
        self._homes.append(self.home)
        opening = SegmentOpening(
            self.opening, self.next_sequence, needed_from=self._homes[0][1], host_boot=self._host_boot
        )
        self.offset = segment.begin(opening)
        self._opening_bytes = self.offset
        self.map = segment.map
        self.marker = segment.marker
        self.end_at = segment.size
        self.soft_end = self.end_at - self.reserve

    # Durability, failure and the end.

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` once everything appended so far is durable: at once in ``process`` durability.

        In ``host`` durability it runs on the event loop after a sync that others share. It never runs if that
        sync fails: then ``on_failure`` does.
        """
        if self._host and self._failure is None:
            self._syncer.when_durable(callback)
        elif self._failure is None:
            callback()

    def fail(self, error: Exception) -> None:
        """End this boot: a sync failed. It is not tried again, for the kernel may have dropped the pages."""
        if self._failure is None:
            self._failure = error
            self.soft_end = self.end_at = 0
            self._on_failure(error)

    def _full(self) -> JournalFullError:
        return JournalFullError(
            self._spares.blocked
            or f"no room beside what {self.open_count} open calls need for their ends, or the disk is too slow"
        )

    def _failed(self) -> JournalFailedError:
        return JournalFailedError(
            f"the journal of {self.opening.writer_id} failed ({self._failure}); close it and open a new boot"
        )

    def close(self) -> None:
        """End the boot, durably.

        With exchanges still open, with counts that no room is left for, or after a failure, that is left to
        recovery: what it adds may exceed the limit.
        """
        if self._closed:
            return
        self._closed = True
        if self._failure is None:
            self._tell_the_rest()
        self._spares.stop()
        self._syncer.stop()
        used: int | None = None
        if self._failure is None:
            try:
                self._append_close()
                self._syncer.sync_now()
                self.counts.settle(self.opening.boot, self.next_sequence)
                used = self.offset
            except OSError as error:
                self.fail(error)
        for left in self._syncer.left:
            left.close()
        self.soft_end = self.end_at = 0
        self._failure = self._failure or RuntimeError("it is closed")
        self._segment.close(used)
        os.close(self._lock)

    def _tell_the_rest(self) -> None:
        """Put on record what is only counted; first those whose reason has a record on its way to the disk."""
        try:
            self._syncer.sync_now()
        except OSError as error:
            self.fail(error)
            return
        self.counts.settle(self.opening.boot, self.next_sequence)
        self.tell_counted(is_last=True)

    def _append_close(self) -> None:
        payload = encode_close(self.next_sequence)
        after = self.offset + HEADER_SIZE + len(payload)
        if self.open_count == 0 and after <= self.end_at and not self.counts.pending():
            self.map[self.offset : after] = frame(self.marker, Kind.CLOSE, payload, at=self.offset)
            self.offset = after


crash.around(JournalWriter, "begin", before="before-request", after="after-request")
