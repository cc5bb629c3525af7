"""Ends what a dead writer left open (invariant 4). Done under the writer's lock, before a new boot opens.

The whole recovery of a boot is one small segment: END frames for the open exchanges, then CLOSE. It is a
function of the boot's frames, is written beside and synced, and gets its name in one step. So a recovery that is
killed has changed nothing, and one that is done is seen by its CLOSE frame and never done again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from llm_audit.journal import crash
from llm_audit.journal.assemble import Assembly, Gathered, power_lost
from llm_audit.journal.boot import BootReader, MappedSegment, started
from llm_audit.journal.counted import Counted, CountedCalls
from llm_audit.journal.files import (
    SegmentName,
    give_back_tail,
    host_boot,
    locked,
    probe,
    remove_temporaries,
    segment_names,
    sync_directory,
    write_durably,
    writer_directories,
)
from llm_audit.journal.frames import (
    FILE_HEADER_SIZE,
    MARKER_SIZE,
    UNDECODABLE,
    EndFrame,
    Kind,
    decode_request_start,
    decode_response_start,
    encode_end,
    encode_file_header,
    frame,
    split_start,
)
from llm_audit.journal.model import End
from llm_audit.journal.openings import SegmentOpening, encode_close, encode_open
from llm_audit.journal.pieces import payload_of
from llm_audit.journal.scan import Frame
from llm_audit.record.schema import ErrorInfo, Outcome

_MANY = 1024
NO_ID = bytes(16)
"""The request id of an exchange whose REQUEST frame cannot be read."""


def orphans(journal: Path) -> list[Path]:
    """Give the writer directories that no living process has locked, in order of name."""
    found = []
    for directory in writer_directories(journal):
        with locked(directory) as free:
            if free:
                found.append(directory)
    return found


def try_recover(directory: Path) -> bool:
    """Recover a writer directory if no living process has it locked; gives whether that was so."""
    with locked(directory) as free:
        if free:
            recover(directory)
        return free


def recover(directory: Path, sync: Callable[[int], None] = os.fdatasync) -> None:
    """End every boot of this directory that no CLOSE frame ends. The caller holds the lock.

    Raises OSError where the disk does not take it; the journal is then as it was before.
    """
    if not segment_names(directory):
        return
    probe(directory)
    remove_temporaries(directory)
    for boot in sorted({name.boot for name in segment_names(directory)}):
        _recover_boot(directory, boot, sync)


def _recover_boot(directory: Path, boot: int, sync: Callable[[int], None]) -> None:
    names = [name for name in segment_names(directory) if name.boot == boot]
    while names and not started(directory / str(names[-1])) and _is_spare(directory, names[-1]):
        (directory / str(names.pop())).unlink()
    if not names or _is_closed(directory, names[-1]):
        return
    for name in names:
        _sync(directory / str(name), sync)
    reader = _read(directory, boot, _needed_from(directory, names[-1]))
    try:
        path = directory / str(SegmentName(boot, names[-1].number + 1))
        _put_on_record(directory, path, reader, sync)
        last = reader.segments[reader.assembly.segment]
        fd = os.open(directory / str(last.name), os.O_RDWR | os.O_CLOEXEC)
        try:
            give_back_tail(fd, reader.frames_end, last.size)
        finally:
            os.close(fd)
    finally:
        reader.close()


def _read(directory: Path, boot: int, first: int) -> BootReader:
    """Read what recovery has to know: from the oldest segment that a call still open can have a frame in.

    Where that shows anything but a torn tail, read the whole boot: a lost END frame may be of an older call.
    """
    reader = BootReader(directory, boot, first=first)
    while reader.advance(_MANY, over=True):
        pass
    assembly = reader.assembly
    if first and (assembly.troubled or any(gathered.gap for gathered in assembly.open.values())):
        reader.close()
        return _read(directory, boot, 0)
    return reader


def _needed_from(directory: Path, last: SegmentName) -> int:
    """Give the segment to read from: the first, where the power may have gone and pages with it."""
    segment = MappedSegment(directory / str(last), last)
    try:
        opening = segment.opening()
    finally:
        segment.close()
    if opening is None or not opening.host_boot or opening.host_boot != host_boot():
        return 0
    return opening.needed_from


def _sync(path: Path, sync: Callable[[int], None]) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync(fd)
    finally:
        os.close(fd)


def _put_on_record(directory: Path, path: Path, reader: BootReader, sync: Callable[[int], None]) -> None:
    counts = CountedCalls(directory)
    boot = reader.opening.boot
    try:
        counts.settle(boot, reader.assembly.expected)
        pending = counts.pending()
        data, first = _segment(reader, pending)
        for sequence, counted in enumerate(pending, first):
            counts.will_be_told(counted, boot, sequence)
        counts.sync(sync)
        _put(path, data)
        counts.settle(boot, first + len(pending))
    finally:
        counts.close()


def _is_closed(directory: Path, name: SegmentName) -> bool:
    """Whether a CLOSE frame stands in this segment, the boot's last."""
    segment = MappedSegment(directory / str(name), name)
    try:
        while (step := segment.scan.step(final=True)) is not None:
            if isinstance(step, Frame) and step.kind == Kind.CLOSE:
                return True
        return False
    finally:
        segment.close()


def _is_spare(directory: Path, name: SegmentName) -> bool:
    """Whether nothing at all was written after the file's header (started ones may have lost their OPEN)."""
    with (directory / str(name)).open("rb") as file:
        file.seek(FILE_HEADER_SIZE)
        while block := file.read(1 << 20):
            if block.count(0) != len(block):
                return False
    return True


def _put(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    write_durably(temporary, data)
    crash.point("recovery-written")
    temporary.rename(path)
    crash.point("recovery-named")
    sync_directory(path.parent)


def _segment(reader: BootReader, pending: list[Counted]) -> tuple[bytes, int]:
    """Give the recovery segment of this boot, and the sequence of its first record of counted calls."""
    assembly = reader.assembly
    marker = secrets.token_bytes(MARKER_SIZE)
    data = bytearray(encode_file_header(marker))

    def put(kind: Kind, payload: bytes, number: int = 0, exchange: int = 0, mono_ns: int = 0) -> None:
        data.extend(
            frame(marker, kind, payload, at=len(data), number=number, exchange=exchange, mono_ns=mono_ns)
        )

    opening = encode_open(
        SegmentOpening(reader.opening, assembly.expected, recovered=True, power_lost=assembly.holes)
    )
    put(Kind.OPEN, opening)
    put(Kind.OPEN, opening)
    count = 0
    for gathered, end in _ends(reader):
        put(Kind.END, encode_end(end), end.count - 1, gathered.exchange, end.end.ended_mono_ns)
        count += not end.late
    first = assembly.expected + count
    for index, counted in enumerate(pending):
        exchange = assembly.begun + 1 + index
        put(Kind.REQUEST, counted.start(0), 0, exchange, 0)
        status, span = counted.reason.status, counted.span_ns
        over = End(first + index, counted.outcome, status, None, span, counted.error())
        put(Kind.END, encode_end(EndFrame(over, 2, counted.request_id)), 1, exchange, span)
    put(Kind.CLOSE, encode_close(first + len(pending)))
    return bytes(data), first


def _ends(reader: BootReader) -> Iterator[tuple[Gathered, EndFrame]]:
    """Give the END frames that are missing: those in the middle first, then in order of the begin frames."""
    assembly = reader.assembly
    late = dict(_claimants(assembly))
    for exchange, sequence in late.items():
        gathered = assembly.open[exchange]
        yield gathered, _interrupted(reader, gathered, sequence, late=True)
    sequence = assembly.expected
    for exchange in sorted(assembly.open):
        if exchange not in late:
            gathered = assembly.open[exchange]
            yield gathered, _interrupted(reader, gathered, sequence, late=False)
            sequence += 1


def _claimants(assembly: Assembly) -> Iterator[tuple[int, int]]:
    """Pair each lost sequence with an open exchange of which nothing was written after the loss showed."""
    taken: set[int] = set()
    for sequence, ref in assembly.lost:
        for exchange in sorted(assembly.open):
            if exchange not in taken and assembly.open[exchange].last_ref < ref:
                taken.add(exchange)
                yield exchange, sequence
                break


def _interrupted(reader: BootReader, gathered: Gathered, sequence: int, *, late: bool) -> EndFrame:
    """Give the END frame from what is there: times from the exchange's last frame, never from our clock."""
    prefix = False
    error = ErrorInfo("interrupted", "the process that carried this call died before it ended")
    if gathered.gap is not None and reader.assembly.holes and gathered.whole and gathered.whole[0]:
        # What a power cut kept from the disk was never acknowledged (host durability): keep what is whole.
        prefix = True
        error = power_lost(gathered.gap)
        gathered.keep_prefix()
    end = End(sequence, Outcome.INTERRUPTED, _status(reader, gathered), None, gathered.last_mono_ns, error)
    return EndFrame(end, gathered.next_number + 1, _request_id(reader, gathered), late, prefix)


def _status(reader: BootReader, gathered: Gathered) -> int | None:
    """Give the status that the client was sent: the RESPONSE frame's, for it was written before it was sent."""
    if gathered.response is None:
        return None
    kind, _, payload = payload_of(reader.segments, gathered.response)
    with suppress(*UNDECODABLE):
        return decode_response_start(split_start(kind, payload)[0]).status
    return None


def _request_id(reader: BootReader, gathered: Gathered) -> bytes:
    if not gathered.request:
        return NO_ID
    kind, _, payload = payload_of(reader.segments, gathered.request[0])
    if kind == Kind.REQUEST:
        with suppress(*UNDECODABLE):
            return decode_request_start(split_start(kind, payload)[0]).request_id
    return NO_ID
