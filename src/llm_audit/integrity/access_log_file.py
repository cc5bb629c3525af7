"""The access log's file: appended to by any process of this machine, one at a time, and never otherwise written.

``append`` returns once the entry is on the disk, or raises: whoever is about to show content writes first and shows
after. A line that a power cut left unfinished was never acknowledged; the next append cuts it off and says so in its
own details. The file ``head`` beside it names the last entry: it is written after each append, so it may be behind by
some entries after a cut, and never ahead.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from llm_audit.integrity.access_log import (
    ACTION,
    LINE_LIMIT,
    Entry,
    Fault,
    Head,
    digest_of,
    line_of,
    parse_line,
    verify,
)

FILE_NAME = "access.jsonl"
HEAD_NAME = "head.json"

_TAIL = LINE_LIMIT + 4096
"""Bytes that hold the last whole line, whatever it is."""

_BLOCK = 256 * 1024


class AccessLogError(Exception):
    """The log could not be written or read; says why. Nothing may be shown that it should have recorded."""


class AccessLog:
    """One log, in a folder of its own (0700). May be used from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._head = folder / HEAD_NAME

    def append(
        self, at: str, actor: str, action: str, subject: str | None, details: Mapping[str, Any]
    ) -> Entry:
        """Write one entry, durably; give it. ``at`` is ISO 8601 UTC. Raises AccessLogError, ValueError."""
        if not ACTION.fullmatch(action):
            raise ValueError(f"action is {action!r}, expected words joined by dots such as content.page")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked() as descriptor:
                return self._append(descriptor, at, actor, action, subject, details)
        except OSError as error:
            raise AccessLogError(f"the access log {self.path} cannot be written: {error.strerror}") from error

    def _append(
        self,
        descriptor: int,
        at: str,
        actor: str,
        action: str,
        subject: str | None,
        details: Mapping[str, Any],
    ) -> Entry:
        last, torn = _end(descriptor)
        if torn:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - torn)
            details = {**details, "unfinishedBytesCutOff": torn}
        sequence = 0 if last is None else self._sequence_of(last)
        entry = Entry(
            sequence + 1, at, actor, action, subject, details, None if last is None else digest_of(last)
        )
        line = line_of(entry)
        begin = os.fstat(descriptor).st_size
        try:
            _write_whole(descriptor, line + b"\n")
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):  # half a line is cut off by the next in any case
                os.ftruncate(descriptor, begin)
            raise
        self._keep_head(Head(entry.sequence, digest_of(line)))
        return entry

    def _sequence_of(self, line: bytes) -> int:
        """Read the last line's sequence. A line that somebody damaged must not keep others from being recorded."""
        try:
            return parse_line(line).sequence
        except ValueError:
            head = self.head()
            return 0 if head is None else head.sequence

    def _keep_head(self, head: Head) -> None:
        temporary = self._head.with_name(f".{HEAD_NAME}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(head._asdict()).encode() + b"\n")
        temporary.replace(self._head)

    def head(self) -> Head | None:
        """Give what ``head`` beside the log says; None where there is none that can be read."""
        try:
            members = json.loads(self._head.read_bytes())
            return Head(int(members["sequence"]), str(members["sha256"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def size(self) -> int:
        """Give the log's bytes; 0 where there is none."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def newest(
        self,
        limit: int,
        before: int | None = None,
        is_wanted: Callable[[Entry], bool] | None = None,
    ) -> list[Entry]:
        """Give up to ``limit`` wanted entries, newest first, with sequences below ``before``. Raises AccessLogError."""
        found: list[Entry] = []
        for line in self._lines_backwards():
            try:
                entry = parse_line(line)
            except ValueError:
                continue  # `faults` names it
            if (before is None or entry.sequence < before) and (is_wanted is None or is_wanted(entry)):
                found.append(entry)
            if len(found) == limit:
                break
        return found

    def faults(self) -> list[Fault]:
        """Check the whole log against itself and its head. Raises AccessLogError."""
        head = self.head()  # before the lines: an entry that comes meanwhile is no fault
        return list(verify(self._lines(), head))

    def _lines(self) -> Iterator[bytes]:
        with self._reading(), self.path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    yield line[:-1]

    def _lines_backwards(self) -> Iterator[bytes]:
        """Give whole lines from the end, block by block; an unfinished one is left out."""
        with self._reading(), self.path.open("rb") as file:
            position, rest = file.seek(0, os.SEEK_END), b""
            is_end = True
            while position:
                size = min(_BLOCK, position)
                position -= size
                file.seek(position)
                first, *others = (file.read(size) + rest).split(b"\n")
                if is_end and others:
                    others.pop()  # what stands after the last line feed: nothing, or unfinished
                    is_end = False
                yield from reversed(others)
                rest = first
            if not is_end:
                yield rest

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            return
        except OSError as error:
            raise AccessLogError(f"the access log {self.path} cannot be read: {error.strerror}") from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)


def _end(descriptor: int) -> tuple[bytes | None, int]:
    """Give the last whole line (None before the first), and how many bytes of an unfinished one follow it."""
    size = os.fstat(descriptor).st_size
    begin = max(0, size - 2 * _TAIL)
    tail = os.pread(descriptor, size - begin, begin)
    whole, feed, torn = tail.rpartition(b"\n")
    if not feed:
        return None, len(torn)
    return whole.rpartition(b"\n")[2], len(torn)


def _write_whole(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
