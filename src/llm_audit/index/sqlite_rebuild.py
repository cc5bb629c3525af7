"""Building the embedded index anew, in place, while others read it and the shipper writes it.

Every object's item is written again; at the end, whatever was there at the beginning and was not written
again is removed: items whose object is gone, and rows that somebody changed into something else. Items that
came meanwhile have higher numbers and are left alone, so nothing has to stop for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from llm_audit.index.schema import Item, keys
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.index.sqlite_schema import row_of, upsert_statement


class Rebuild:
    """One rebuilding of an index. It begins when it is made; dropping it half-way leaves a usable index."""

    def __init__(self, index: SqliteIndex) -> None:
        """Note what is there now. Raises IndexUnavailableError, as every method does."""
        self._index = index
        with index.writing() as connection:
            (self._mark,) = connection.execute("SELECT coalesce(max(number), 0) FROM items").fetchone()
            connection.execute("CREATE TEMP TABLE IF NOT EXISTS written_again (number INTEGER PRIMARY KEY)")
            connection.execute("DELETE FROM written_again")

    def put(self, items: Sequence[Item]) -> None:
        """Write a batch, wholly or not at all, and remember that it is there rightly."""
        found = [(keys(item)["id"], keys(item)["createdAt"], self._mark) for item in items]
        with self._index.writing() as connection:
            connection.executemany(upsert_statement(), map(row_of, items))
            connection.executemany(
                "INSERT OR IGNORE INTO written_again "
                "SELECT number FROM items WHERE id = ? AND createdAt = ? AND number <= ?",
                found,
            )

    def finish(self, unread: Iterable[str] = ()) -> int:
        """Remove what was not written again, except items of objects that could not be read; gives how many."""
        with self._index.writing() as connection:
            connection.execute("CREATE TEMP TABLE IF NOT EXISTS unread (auditObjectKey TEXT PRIMARY KEY)")
            connection.execute("DELETE FROM unread")
            connection.executemany("INSERT OR IGNORE INTO unread VALUES (?)", ((key,) for key in unread))
            removed = connection.execute(
                "DELETE FROM items WHERE number <= ? AND number NOT IN (SELECT number FROM written_again) "
                "AND auditObjectKey NOT IN (SELECT auditObjectKey FROM unread)",
                (self._mark,),
            ).rowcount
            connection.execute("DROP TABLE written_again")
            connection.execute("DROP TABLE unread")
        return removed
