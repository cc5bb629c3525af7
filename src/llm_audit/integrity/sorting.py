"""Any number of rows in order, in little memory: sorted in chunks, kept in temporary files, merged.

Rows are tuples of strings, numbers and None, whose first member is what they are sorted by; they go into the
files as JSON. The files have no names, so nothing is left behind however the process ends.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from types import TracebackType
from typing import IO, Any, Generic, Self, TypeVar

import orjson

CHUNK_ROWS = 50_000
"""Rows sorted in memory at once: some 30 MB."""

MOST_FILES = 48
"""So many chunks are merged into one before there are more: each holds a file open."""

Row = TypeVar("Row", bound=tuple[Any, ...])
_FIRST = itemgetter(0)


class Sorter(Generic[Row]):
    """Takes rows in any order and gives them sorted; rows of one value in the order in which they came.

    A context manager, whose end removes the files. Every method may raise OSError: the temporary folder is full.
    """

    def __init__(self, make: Callable[[list[Any]], Row], *, chunk_rows: int = CHUNK_ROWS) -> None:
        """``make`` turns a list of a row's members into a row again."""
        self._make = make
        self._chunk_rows = chunk_rows
        self._chunk: list[Row] = []
        self._files: list[IO[bytes]] = []

    def add(self, row: Row) -> None:
        """Take a row."""
        self._chunk.append(row)
        if len(self._chunk) >= self._chunk_rows:
            self._put_away()

    def filled(self, rows: Iterable[Row]) -> Self:
        """Take all these rows; give the sorter itself."""
        for row in rows:
            self.add(row)
        return self

    def __iter__(self) -> Iterator[Row]:
        """Give every row, in order. Once: it reads the files through."""
        self._chunk.sort(key=_FIRST)
        return heapq.merge(self._merged(), self._chunk, key=_FIRST)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()

    def _put_away(self) -> None:
        self._chunk.sort(key=_FIRST)
        self._write(self._chunk)
        self._chunk = []
        if len(self._files) > MOST_FILES:
            old = self._files
            self._files = []
            try:
                self._write(heapq.merge(*map(self._read, old), key=_FIRST))
            finally:
                for file in old:
                    file.close()

    def _write(self, rows: Iterable[Row]) -> None:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        self._files.append(file)
        file.writelines(orjson.dumps(tuple(row)) + b"\n" for row in rows)
        file.seek(0)

    def _merged(self) -> Iterator[Row]:
        return heapq.merge(*map(self._read, self._files), key=_FIRST)

    def _read(self, file: IO[bytes]) -> Iterator[Row]:
        return (self._make(orjson.loads(line)) for line in file)
