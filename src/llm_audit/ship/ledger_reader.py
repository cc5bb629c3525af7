"""The ledger, read beside the shipper that writes it: what is said to be stored. Never makes or changes the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm_audit.integrity.digests import Entry
from llm_audit.ship.ledger import FORMAT_VERSION, LedgerError, StoredRecord

PAGE_ROWS = 1000
"""Rows read at once: no snapshot is held for longer, so that the shipper's log can be folded back."""


class LedgerReader:
    """A ledger that exists, open for reading. Used from one thread. Every method raises LedgerError."""

    def __init__(self, path: Path) -> None:
        """Open it. Raises LedgerError where it is none, or of a newer format."""
        self._path = path
        with self._errors():
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            self._check_format()
        except BaseException:
            self._db.close()
            raise

    def _check_format(self) -> None:
        with self._errors():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if not 1 <= version <= FORMAT_VERSION:
            raise LedgerError(
                f"{self._path} has format {version}, this version knows {FORMAT_VERSION}: use the llm-audit that wrote it"
            )

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def rows(self) -> Iterator[StoredRecord]:
        """Give every record that is remembered, in the order of storing."""
        last = 0
        while True:
            rows = self.rows_between(last, None, PAGE_ROWS)
            yield from (record for _, record in rows)
            if len(rows) < PAGE_ROWS:
                return
            last = rows[-1][0]

    def rows_between(self, after: int, through: int | None, limit: int) -> list[tuple[int, StoredRecord]]:
        """Give the first rows after one id, up to another or to the end, with their ids."""
        columns = "id, writer, boot, sequence, sha256, key, size"
        return [
            (row[0], StoredRecord(row[1], row[2], row[3], row[4].hex(), row[5], row[6]))
            for row in self._between(columns, after, through, limit)
        ]

    def entries_between(self, after: int, through: int, limit: int) -> tuple[int, dict[str, list[Entry]]]:
        """Give the first rows after one id, up to another, as entries of digests by writer; and up to which id they are."""
        columns = "writer, id, boot, key, sequence, lower(hex(sha256)), size"
        rows = self._between(columns, after, through, limit)
        entries: dict[str, list[Entry]] = {}
        for row in rows:
            entries.setdefault(row[0], []).append(Entry._make(row[2:]))
        return (rows[-1][1] if len(rows) == limit else through), entries

    def _between(self, columns: str, after: int, through: int | None, limit: int) -> list[tuple[Any, ...]]:
        with self._errors():
            return self._db.execute(
                f"SELECT {columns} FROM stored WHERE id > ? AND id <= coalesce(?, id) ORDER BY id LIMIT ?",  # noqa: S608 - ours
                (after, through, limit),
            ).fetchall()

    def marks(self) -> list[tuple[str, int, int]]:
        """Give writer, boot and sequence up to which everything of each writer is stored."""
        with self._errors():
            return self._db.execute("SELECT writer, boot, sequence FROM marks ORDER BY writer").fetchall()

    def sequences(self, writer: str, boot: int, first: int, last: int) -> Iterator[int]:
        """Give the sequences from first to last of which a row speaks now."""
        with self._errors():
            rows = self._db.execute(
                "SELECT sequence FROM stored WHERE writer = ? AND boot = ? AND sequence BETWEEN ? AND ?",
                (writer, boot, first, last),
            ).fetchall()
        return (sequence for (sequence,) in rows)

    def has_row(self, writer: str, boot: int, sequence: int) -> bool:
        """Tell whether a row speaks of this record now; old rows are forgotten."""
        return any(True for _ in self.sequences(writer, boot, sequence, sequence))

    def before(self, writer: str, boot: int, sequence: int) -> StoredRecord | None:
        """Give the record whose digest this one names: the one before it, or the last of its writer's boot before.

        None where no row speaks of it (any more).
        """
        with self._errors():
            row = self._db.execute(
                "SELECT writer, boot, sequence, sha256, key, size FROM stored WHERE writer = ? AND (boot, sequence) < (?, ?) "
                "ORDER BY boot DESC, sequence DESC LIMIT 1",
                (writer, boot, sequence),
            ).fetchone()
        if row is None:
            return None
        found = StoredRecord(row[0], row[1], row[2], row[3].hex(), row[4], row[5])
        is_next = (found.boot, found.sequence + 1) == (boot, sequence) or (
            sequence == 0 and found.boot < boot
        )
        return found if is_next else None

    def is_behind_mark(self, writer: str, boot: int, sequence: int) -> bool:
        """Tell whether this record is one of those up to its writer's mark, which are all stored."""
        with self._errors():
            found = self._db.execute(
                "SELECT 1 FROM marks WHERE writer = ? AND (boot, sequence) >= (?, ?)",
                (writer, boot, sequence),
            ).fetchone()
        return found is not None

    def is_whole(self) -> bool:
        """Tell whether it still has its first row: then nothing was ever forgotten."""
        with self._errors():
            (first,) = self._db.execute("SELECT min(id) FROM stored").fetchone()
        return bool(first == 1)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerError(
                f"{self._path} cannot be read ({error}): mend the disk, or move the file away (it is made anew)"
            ) from error
