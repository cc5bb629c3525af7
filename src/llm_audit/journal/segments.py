"""The writer's segments: the one being filled, and the one prepared ahead so that the data path never waits."""

from __future__ import annotations

import mmap
import os
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llm_audit.journal.files import SegmentName, allocate, give_back_tail, used_bytes
from llm_audit.journal.frames import (
    FILE_HEADER_SIZE,
    MARKER_SIZE,
    Kind,
    encode_file_header,
    frame,
)
from llm_audit.journal.openings import SegmentOpening, encode_open

Sync = Callable[[int], None]
"""``os.fdatasync``; a seam, for no test can make a disk fail at will."""

SEGMENT_BYTES = 64 << 20
_SMALLEST = 1 << 20
SMALLEST_LIMIT = 4 * _SMALLEST
_FORGET_STEP = 8 << 20
_RETRY_S = 0.05


def segment_bytes(limit_bytes: int) -> int:
    """Choose a segment's size: an eighth of the limit, in whole pages, from 1 to 64 MiB.

    Raises ValueError for a limit that holds too few of them.
    """
    if limit_bytes < SMALLEST_LIMIT:
        raise ValueError(
            f"a journal of {limit_bytes} bytes per worker is too small: AUDIT_JOURNAL_MAX_BYTES must be at "
            f"least {SMALLEST_LIMIT} per worker"
        )
    size = max(_SMALLEST, min(SEGMENT_BYTES, limit_bytes // 8))
    return size // mmap.PAGESIZE * mmap.PAGESIZE


@dataclass(slots=True)
class Segment:
    """A segment of this process, mapped for writing."""

    name: SegmentName
    path: Path
    fd: int
    map: mmap.mmap
    marker: bytes
    size: int
    forgotten: int = 0

    @classmethod
    def create(cls, directory: Path, name: SegmentName, size: int) -> Segment:
        """Preallocate it and make its header and its name durable. Raises OSError where the disk is full."""
        marker = secrets.token_bytes(MARKER_SIZE)
        path = directory / str(name)
        fd, mapped = allocate(path, size, encode_file_header(marker))
        return cls(name, path, fd, mapped, marker, size)

    def begin(self, opening: SegmentOpening) -> int:
        """Write the OPEN frame, twice; gives the offset of the first frame after them."""
        payload = encode_open(opening)
        at = FILE_HEADER_SIZE
        for _ in range(2):
            data = frame(self.marker, Kind.OPEN, payload, at=at)
            self.map[at : at + len(data)] = data
            at += len(data)
        return at

    def forget_pages(self, upto: int) -> None:
        """Take written and synced pages out of the resident set: a mapped journal counts as our memory else."""
        upto = upto // mmap.PAGESIZE * mmap.PAGESIZE
        if upto - self.forgotten >= _FORGET_STEP:
            self.map.madvise(mmap.MADV_DONTNEED, self.forgotten, upto - self.forgotten)
            self.forgotten = upto

    def close(self, used: int | None = None) -> None:
        """Unmap it; with ``used``, free the blocks after that."""
        self.map.close()
        if used is not None:
            give_back_tail(self.fd, used, self.size)
        os.close(self.fd)


class SpareMaker:
    """Prepares the next segment in a thread of its own, within the limit of bytes."""

    def __init__(self, directory: Path, boot: int, size: int, limit_bytes: int) -> None:
        self._directory = directory
        self._boot = boot
        self._next = 0
        self.size = size
        self._limit = limit_bytes
        self.used_bytes = used_bytes(directory)
        self.blocked: str | None = None
        """Why there is no spare segment, where that is no matter of milliseconds."""
        self._spare: Segment | None = None
        self._last_try = 0.0
        self._stopping = False
        self._wanted = threading.Event()
        self._settled = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="journal-prepare", daemon=True)

    def first(self) -> Segment:
        """Make the boot's first segment, here and now, whatever the limit: the boot must be on record."""
        segment = self._make()
        self._thread.start()
        self.want()
        return segment

    def want(self) -> None:
        """Ask for a spare segment."""
        self._last_try = time.monotonic()
        self._wanted.set()

    def room(self) -> int:
        """Bytes for frames in the spare segment, 0 while there is none. Asks again for one from time to time."""
        if self._spare is not None:
            return self.size - FILE_HEADER_SIZE
        if self.blocked is not None and time.monotonic() - self._last_try >= _RETRY_S:
            self.want()
        return 0

    def wait(self, seconds: float) -> bool:
        """Wait for the thread to have tried, where it is still trying; gives whether there is a spare."""
        with self._settled:
            self._settled.wait_for(lambda: self._spare is not None or self.blocked is not None, seconds)
        return self._spare is not None

    def take(self) -> Segment:
        """Take the spare segment and ask for the next."""
        segment = self._spare
        assert segment is not None
        self._spare = self.blocked = None
        self.want()
        return segment

    def stop(self) -> None:
        """End the thread and remove the spare that nobody used."""
        self._stopping = True
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._spare is not None:
            self._spare.close()
            with suppress(OSError):  # a disk that fails keeps it; recovery knows it for a spare
                self._spare.path.unlink(missing_ok=True)
            self._spare = None

    def _make(self) -> Segment:
        segment = Segment.create(self._directory, SegmentName(self._boot, self._next), self.size)
        self._next += 1
        return segment

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if self._stopping:
                return
            if self._spare is None:
                self.blocked = self._try()
            with self._settled:
                self._settled.notify_all()

    def _try(self) -> str | None:
        """Make the spare, or give the reason why not."""
        try:
            self.used_bytes = used_bytes(self._directory)
            if self.used_bytes + self.size > self._limit:
                return (
                    f"the journal holds {self.used_bytes} of {self._limit} bytes "
                    "(AUDIT_JOURNAL_MAX_BYTES); it empties as its records are stored"
                )
            self._spare = self._make()
            self.used_bytes += self.size
        except OSError as error:
            return f"no new segment can be made in {self._directory}: {error.strerror or error}"
        return None
