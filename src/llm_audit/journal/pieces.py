"""Bodies as they lie in the journal: sequences that read from the mapping when they are asked.

A reference costs 8 bytes, so a stream of a million chunks or a body of 100 MB costs its reader next to nothing
until somebody wants the bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import overload

from llm_audit.journal.assemble import CONTINUES, SEGMENT_SHIFT
from llm_audit.journal.boot import MappedSegment
from llm_audit.journal.frames import HEADER_SIZE, WHOLE_HEADER, Kind, split_start
from llm_audit.journal.model import Chunk

_OFFSET = (1 << SEGMENT_SHIFT) - 1
_STARTS = frozenset((int(Kind.REQUEST), int(Kind.RESPONSE)))
Segments = Mapping[int, MappedSegment]


def segment_of(ref: int) -> int:
    """Give the number of the segment that a reference points into."""
    return (ref & ~CONTINUES) >> SEGMENT_SHIFT


def payload_of(segments: Segments, ref: int) -> tuple[int, int, memoryview]:
    """Give kind, time and payload of the frame at ``ref``."""
    scan = segments[segment_of(ref)].scan
    at = ref & _OFFSET
    _, kind, _, _, _, _, mono_ns, length, _ = WHOLE_HEADER.unpack(scan.header(at))
    return kind, mono_ns, scan.view[at + HEADER_SIZE : at + HEADER_SIZE + length]


def _piece(segments: Segments, ref: int) -> tuple[int, bytes]:
    kind, mono_ns, payload = payload_of(segments, ref)
    if kind in _STARTS:
        payload = split_start(kind, payload)[1]
    return mono_ns, bytes(payload)


class RequestPieces(Sequence[bytes]):
    """The request's body, in the pieces in which it was written."""

    __slots__ = ("_refs", "_segments")

    def __init__(self, segments: Segments, refs: array[int]) -> None:
        self._segments = segments
        self._refs = refs

    def __len__(self) -> int:
        return len(self._refs)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return RequestPieces(self._segments, self._refs[index])
        return _piece(self._segments, self._refs[index])[1]

    def __iter__(self) -> Iterator[bytes]:
        for ref in self._refs:
            yield _piece(self._segments, ref)[1]


class ResponseChunks(Sequence[Chunk]):
    """The response's body, in the pieces that came from upstream; those that were split are whole again."""

    __slots__ = ("_refs", "_segments", "_starts")

    def __init__(self, segments: Segments, refs: array[int]) -> None:
        self._segments = segments
        self._refs = refs
        self._starts: array[int] | range = range(len(refs))
        if any(ref & CONTINUES for ref in refs):
            self._starts = array("Q", [at for at, ref in enumerate(refs) if not ref & CONTINUES])

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Chunk: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Chunk]: ...
    def __getitem__(self, index: int | slice) -> Chunk | Sequence[Chunk]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        start = self._starts[index]
        mono_ns, data = _piece(self._segments, self._refs[start])
        following = start + 1
        if following == len(self._refs) or not self._refs[following] & CONTINUES:
            return Chunk(mono_ns, data)
        parts = [data]
        while following < len(self._refs) and self._refs[following] & CONTINUES:
            parts.append(_piece(self._segments, self._refs[following])[1])
            following += 1
        return Chunk(mono_ns, b"".join(parts))

    def __iter__(self) -> Iterator[Chunk]:
        if isinstance(self._starts, range):  # none is split
            for ref in self._refs:
                yield Chunk(*_piece(self._segments, ref))
        else:
            for at in range(len(self)):
                yield self[at]
