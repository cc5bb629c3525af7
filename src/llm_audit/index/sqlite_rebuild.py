"""Building the embedded index anew, in place, while others read it and the shipper writes it.

Every object's item is written again; at the end, whatever was there at the beginning and was not written
again is removed: items whose object is gone, and rows that somebody changed into something else. Items that
came meanwhile have higher numbers and are left alone, so nothing has to stop for it.

How far it is stands in tables of the same file, written with each batch in one commit: a run that was killed goes on
there. A day later it begins anew, since whoever rebuilds wants to know what the objects say now.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence

from llm_audit.index.schema import Item, keys
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.index.sqlite_schema import row_of, upsert_statement

GOES_ON_MS = 86_400_000
"""Milliseconds after its begin up to which a killed run is gone on with."""

_TABLES = (
    """CREATE TABLE IF NOT EXISTS rebuild
    (place TEXT, begun_ms INTEGER, mark INTEGER, after TEXT, written INTEGER, skipped INTEGER, unread TEXT)""",
    "CREATE TABLE IF NOT EXISTS rebuild_written (number INTEGER PRIMARY KEY)",
)


class Rebuild:
    """One rebuilding of an index from one place. Dropping it half-way leaves a usable index, and its progress."""

    def __init__(self, index: SqliteIndex, place: str, *, is_new: bool = False) -> None:
        """Go on with what an earlier run from the same place left, or note what is there now and begin.

        ``place`` names bucket and prefix; ``is_new`` begins in any case. Raises IndexUnavailableError, as every
        method does.
        """
        self._index = index
        with index.writing() as connection:
            for statement in _TABLES:
                connection.execute(statement)
            now_ms = time.time_ns() // 1_000_000
            found = connection.execute(
                "SELECT mark, after, written, skipped, unread FROM rebuild WHERE place = ? AND begun_ms BETWEEN ? AND ?",
                (place, now_ms - GOES_ON_MS, now_ms),
            ).fetchone()
            if is_new or found is None:
                found = _begin(connection, place, now_ms)
        self._mark, after, written, skipped, unread = found
        self._written = written
        self.progress: tuple[str, int, int, tuple[str, ...]] = (
            after,
            written,
            skipped,
            tuple(json.loads(unread)),
        )
        """How far it is when it begins; see ``ingest.reindex.Progress``."""

    def put(self, items: Sequence[Item], after: str, skipped: int, unread: Sequence[str]) -> None:
        """Write a batch, wholly or not at all, and remember with it that it is there rightly."""
        self._written += len(items)
        with self._index.writing() as connection:
            connection.executemany(upsert_statement(), map(row_of, items))
            if self._mark:
                connection.executemany(
                    "INSERT OR IGNORE INTO rebuild_written "
                    "SELECT number FROM items WHERE id = ? AND createdAt = ? AND number <= ?",
                    [(keys(item)["id"], keys(item)["createdAt"], self._mark) for item in items],
                )
            connection.execute(
                "UPDATE rebuild SET after = ?, written = ?, skipped = ?, unread = ?",
                (after, self._written, skipped, json.dumps(list(unread))),
            )

    def finish(self) -> int:
        """Remove what was not written again, except items of objects that could not be read; gives how many."""
        with self._index.writing() as connection:
            removed = connection.execute(
                "DELETE FROM items WHERE number <= ? AND number NOT IN (SELECT number FROM rebuild_written) "
                "AND auditObjectKey NOT IN (SELECT value FROM rebuild, json_each(rebuild.unread))",
                (self._mark,),
            ).rowcount
            connection.execute("DROP TABLE rebuild_written")
            connection.execute("DROP TABLE rebuild")
        return removed


def _begin(connection: sqlite3.Connection, place: str, now_ms: int) -> tuple[int, str, int, int, str]:
    (mark,) = connection.execute("SELECT coalesce(max(number), 0) FROM items").fetchone()
    connection.execute("DELETE FROM rebuild")
    connection.execute("DELETE FROM rebuild_written")
    connection.execute("INSERT INTO rebuild VALUES (?, ?, ?, '', 0, 0, '[]')", (place, now_ms, mark))
    return (mark, "", 0, 0, "[]")
