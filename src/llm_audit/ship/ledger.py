"""What has been stored, and what has been told of it: the shipper's memory, in SQLite beside the journal.

One row per stored record, kept for two days (hourly digests are made from them), and one row per writer with
the *mark*: everything up to it is stored. So after a restart the shipper knows, for each exchange that the
journal still holds, whether its record exists, and with which digest the chain goes on, without asking the
store. A segment of the journal is deleted only after ``commit`` returned for all that ended in it; ``commit``
is durable (WAL with ``synchronous=FULL``: the log is synced before it returns).

Losing the file costs time and nothing else: every record is put again, is found to exist, and its digest read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

FORMAT_VERSION = 1
KEEP_MS = 48 * 3600 * 1000
"""How long rows of stored records are kept, in milliseconds."""

Place = tuple[int, int]
"""Boot and sequence: where an exchange stands in its writer's chain."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS stored (
  id INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of storing, and of telling; never used twice
  writer TEXT NOT NULL,
  boot INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  sha256 BLOB NOT NULL,         -- of the object as it lies in the store
  key TEXT NOT NULL,
  size INTEGER NOT NULL,
  stored_ms INTEGER NOT NULL    -- wall clock, UTC
);
CREATE UNIQUE INDEX IF NOT EXISTS stored_place ON stored (writer, boot, sequence);
CREATE TABLE IF NOT EXISTS marks (
  writer TEXT PRIMARY KEY,
  boot INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  sha256 BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS told (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  through INTEGER NOT NULL      -- rows of stored up to this id have been told, bar those in late
);
CREATE TABLE IF NOT EXISTS late (id INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS digested (    -- no row: nobody makes digests. See digest_ledger
  only INTEGER PRIMARY KEY CHECK (only = 1),
  through INTEGER NOT NULL      -- rows of stored up to this id are listed in digests
);
CREATE TABLE IF NOT EXISTS digest_chains (
  writer TEXT PRIMARY KEY,
  number INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  to_ms INTEGER NOT NULL,
  boot INTEGER,                 -- the last place covered; NULL before the first
  sequence INTEGER
);
CREATE TABLE IF NOT EXISTS digest_outbox ( -- made and signed, and not known to be in the store
  writer TEXT NOT NULL,
  number INTEGER NOT NULL,
  key TEXT NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (writer, number)
);
INSERT OR IGNORE INTO told VALUES (1, 0);
"""


class LedgerError(Exception):
    """The ledger cannot be opened or written; the message says what to do."""


class StoredRecord(NamedTuple):
    """One record in the store: its place in the chain, its digest as it lies there, its key and bytes."""

    writer: str
    boot: int
    sequence: int
    sha256: str
    key: str
    size: int


class Mark(NamedTuple):
    """Everything of a writer up to and including this place is stored; the digest there."""

    place: Place
    sha256: str


class Ledger:
    """The open ledger. Used from one thread."""

    def __init__(self, path: Path) -> None:
        """Open or make it (0600). Raises LedgerError."""
        self._path = path
        try:
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(
                f"{path} cannot be opened ({error}): mend the disk, or move the file away (it is made anew)"
            ) from error

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > FORMAT_VERSION:
            raise LedgerError(
                f"{self._path} has format {version}, this version knows {FORMAT_VERSION}: use the newer llm-audit"
            )
        self._db.executescript(_SCHEMA)
        self._db.execute(f"PRAGMA user_version={FORMAT_VERSION}")

    @property
    def path(self) -> Path:
        """Its file."""
        return self._path

    @property
    def db(self) -> sqlite3.Connection:
        """The connection, for ``digest_ledger``, which has its tables in the same file."""
        return self._db

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def mark(self, writer: str) -> Mark | None:
        """How far everything of this writer is stored; None for one that never had a record stored."""
        row = self._db.execute(
            "SELECT boot, sequence, sha256 FROM marks WHERE writer = ?", (writer,)
        ).fetchone()
        return None if row is None else Mark((row[0], row[1]), row[2].hex())

    def beyond(self, writer: str, place: Place | None) -> dict[Place, str]:
        """Digests of the records stored past a mark: out of order, since puts overtake each other."""
        rows = self._db.execute(
            "SELECT boot, sequence, sha256 FROM stored WHERE writer = ? AND (boot, sequence) > (?, ?)",
            (writer, *(place or (-1, -1))),
        )
        return {(boot, sequence): sha256.hex() for boot, sequence, sha256 in rows}

    def commit(
        self, records: Sequence[StoredRecord], marks: dict[str, Mark], now_ms: int, *, is_told: bool = False
    ) -> None:
        """Remember stored records and moved marks, durably, all or nothing. Raises LedgerError.

        ``is_told``: nobody here tells the index (S3 does), so everything counts as told.
        """
        rows = [
            (r.writer, r.boot, r.sequence, bytes.fromhex(r.sha256), r.key, r.size, now_ms) for r in records
        ]
        moved = [(writer, *mark.place, bytes.fromhex(mark.sha256)) for writer, mark in marks.items()]
        with self.transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO stored (writer, boot, sequence, sha256, key, size, stored_ms) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            self._db.executemany("INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?)", moved)
            if is_told:
                self._db.execute("UPDATE told SET through = (SELECT coalesce(max(id), through) FROM stored)")

    def untold(self, limit: int) -> list[tuple[int, StoredRecord]]:
        """Give the next stored records that nobody was told of, with their ids, oldest first."""
        return self._rows(
            "SELECT * FROM stored WHERE id > (SELECT through FROM told) ORDER BY id LIMIT ?", limit
        )

    def late(self, limit: int) -> list[tuple[int, StoredRecord]]:
        """Give records that could not be told when their turn came, oldest first."""
        return self._rows("SELECT * FROM stored WHERE id IN (SELECT id FROM late ORDER BY id LIMIT ?)", limit)

    def tell(self, through: int, *, except_ids: Iterable[int] = ()) -> None:
        """Remember that all rows up to this id were told, except these, which become late."""
        with self.transaction(is_durable=False):
            self._db.executemany("INSERT OR IGNORE INTO late VALUES (?)", [(i,) for i in except_ids])
            self._db.execute("UPDATE told SET through = max(through, ?)", (through,))

    def tell_late(self, ids: Iterable[int]) -> None:
        """Remember that late rows were told at last."""
        with self.transaction(is_durable=False):
            self._db.executemany("DELETE FROM late WHERE id = ?", [(i,) for i in ids])

    def count_untold(self) -> int:
        """How many stored records nobody was told of yet; from the ids, so that a large number costs nothing."""
        count: int = self._db.execute(
            "SELECT max(0, coalesce((SELECT max(id) FROM stored), 0) - through) + (SELECT count(*) FROM late) FROM told"
        ).fetchone()[0]
        return count

    def forget(self, now_ms: int, limit: int = 20_000) -> int:
        """Delete up to ``limit`` rows older than ``KEEP_MS``, told, digested and behind their writer's mark; give how many."""
        newest_old = self._newest_before(now_ms - KEEP_MS)
        if newest_old is None:
            return 0
        with self.transaction(is_durable=False):
            return self._db.execute(
                "DELETE FROM stored WHERE id IN (SELECT s.id FROM stored s JOIN marks m USING (writer) "
                "WHERE s.id <= min(?, (SELECT through FROM told), coalesce((SELECT through FROM digested), s.id)) "
                "AND s.id NOT IN (SELECT id FROM late) "
                "AND (s.boot, s.sequence) <= (m.boot, m.sequence) ORDER BY s.id LIMIT ?)",
                (newest_old, limit),
            ).rowcount

    def _newest_before(self, time_ms: int) -> int | None:
        """Give the last id stored before that time, None where there is none.

        Ids grow with time, so bisection finds it in some twenty looks, without an index that each row would pay for.
        """
        low, high = (
            self._db.execute(  # two queries, for SQLite looks up one of min and max, and scans for both
                "SELECT coalesce((SELECT min(id) FROM stored), 1) - 1, coalesce((SELECT max(id) FROM stored), 0)"
            ).fetchone()
        )
        oldest = low
        while low < high:
            middle = (low + high + 1) // 2
            is_old = self._db.execute(
                "SELECT stored_ms < ? FROM stored WHERE id <= ? ORDER BY id DESC LIMIT 1", (time_ms, middle)
            ).fetchone()[0]
            low, high = (middle, high) if is_old else (low, middle - 1)
        return None if low == oldest else low

    def _rows(self, query: str, limit: int) -> list[tuple[int, StoredRecord]]:
        return [
            (row[0], StoredRecord(row[1], row[2], row[3], row[4].hex(), row[5], row[6]))
            for row in self._db.execute(query, (limit,))
        ]

    @contextmanager
    def transaction(self, *, is_durable: bool = True) -> Iterator[None]:
        """All of it, or nothing and a LedgerError.

        Not durable: as for what is told, where a power cut only makes us tell it twice; it saves a sync.
        """
        try:
            self._db.execute(f"PRAGMA synchronous={'FULL' if is_durable else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise LedgerError(
                f"{self._path} cannot be written ({error}): free space or mend the disk"
            ) from error
