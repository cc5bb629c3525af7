"""Building the items of a DynamoDB table anew, while the Lambda goes on writing.

Every object's item is written again, in batches, several at once. Which rows were written stands, as digests, in a
small file on this machine, together with how far the run is: one that was killed goes on there. At the end the table
is read once. A row of this bucket and prefix that was not written is looked into: its object is read again, and the
row is removed if there is none, or if that object's item has another key. So an item that came meanwhile stays, and so
do rows of other buckets, rows of objects that could not be read, and markers.

**Condition of every removal:** the row still speaks of the object that was looked for (``STILL_OF_THAT_OBJECT``).
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from llm_audit.index.dynamodb_items import Row, key_of, row_of
from llm_audit.index.dynamodb_table import ConditionFailedError, Table
from llm_audit.index.dynamodb_writer import DynamoWriter
from llm_audit.index.errors import IndexUnavailableError
from llm_audit.index.schema import Item

BATCH = 25
"""Rows of one BatchWriteItem (its limit)."""

WRITERS = 8
"""Batches, or looks at objects, at once."""

GOES_ON_MS = 86_400_000
"""Milliseconds after its begin up to which a killed run is gone on with; see ``sqlite_rebuild``."""

SEGMENTS = 4
"""Parts of the table read at once."""

TRIES = 10
"""How often rows that DynamoDB did not come to are given again, with longer and longer pauses: some 15 s."""

STILL_OF_THAT_OBJECT = "auditObjectKey = :key"

_LOOKED_AT = "id, createdAt, auditBucket, auditObjectKey"

_TABLES = (
    """CREATE TABLE IF NOT EXISTS rebuild
    (place TEXT, begun_ms INTEGER, after TEXT, written INTEGER, skipped INTEGER, unread TEXT)""",
    "CREATE TABLE IF NOT EXISTS written (row BLOB PRIMARY KEY) WITHOUT ROWID",
)

Reread = Callable[[str], Item | None]
"""Gives the item that an object's key stands for now; None where there is no such document. Raises LookupError where
that cannot be told."""


class DynamoRebuild:
    """One rebuilding of a table from one bucket and prefix."""

    def __init__(
        self, table: Table, memory: Path, bucket: str, prefix: str, reread: Reread, *, is_new: bool = False
    ) -> None:
        """Go on with what an earlier run left in the file ``memory``, or begin; ``is_new`` begins in any case.

        Raises IndexUnavailableError, as every method does.
        """
        self._table, self._bucket, self._prefix, self._reread = (
            table,
            bucket,
            f"{prefix}/" if prefix else "",
            reread,
        )
        self._writer = DynamoWriter(table)
        self._path = memory
        self._memory = _opened(memory)
        place = json.dumps([table.name, bucket, prefix])
        now_ms = time.time_ns() // 1_000_000
        found = self._memory.execute(
            "SELECT after, written, skipped, unread FROM rebuild WHERE place = ? AND begun_ms BETWEEN ? AND ?",
            (place, now_ms - GOES_ON_MS, now_ms),
        ).fetchone()
        if is_new or found is None:
            found = ("", 0, 0, "[]")
            with self._memory:
                self._memory.execute("DELETE FROM rebuild")
                self._memory.execute("DELETE FROM written")
                self._memory.execute("INSERT INTO rebuild VALUES (?, ?, '', 0, 0, '[]')", (place, now_ms))
        after, self._written, skipped, unread = found
        self._unread = frozenset(json.loads(unread))
        self.progress: tuple[str, int, int, tuple[str, ...]] = (
            after,
            self._written,
            skipped,
            tuple(json.loads(unread)),
        )
        """How far it is when it begins; see ``ingest.reindex.Progress``."""

    def put(self, items: Sequence[Item], after: str, skipped: int, unread: Sequence[str]) -> None:
        """Write a batch; when all of it is durable, remember it."""
        self._writer.announce(items)
        # Two objects with the keys of one row: the later stands, as it does when written one by one.
        rows = list({_digest(row): row for row in map(row_of, items)}.values())
        batches = [rows[at : at + BATCH] for at in range(0, len(rows), BATCH)]
        with ThreadPoolExecutor(WRITERS, thread_name_prefix="dynamodb") as pool:
            for _ in pool.map(self._put_all, batches):
                pass
        self._written += len(items)
        self._unread = frozenset(unread)
        with self._memory:
            self._memory.executemany(
                "INSERT OR IGNORE INTO written VALUES (?)", [(_digest(row),) for row in rows]
            )
            self._memory.execute(
                "UPDATE rebuild SET after = ?, written = ?, skipped = ?, unread = ?",
                (after, self._written, skipped, json.dumps(list(unread))),
            )

    def _put_all(self, rows: list[Row]) -> None:
        for number in range(TRIES):
            rows = self._table.put_batch(rows)
            if not rows:
                return
            time.sleep(min(5.0, 0.05 * 2**number))
        raise IndexUnavailableError(
            f"DynamoDB table {self._table.name} takes no more rows for now; run it again later, it goes on where it was"
        )

    def finish(self) -> int:
        """Remove what no object stands for; gives how many rows. Then forget the run."""
        with ThreadPoolExecutor(WRITERS, thread_name_prefix="dynamodb") as pool:
            removed = sum(pool.map(self._remove_if_wrong, self._unwritten()))
        self.close()
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        return removed

    def close(self) -> None:
        """Close the file; the run can be gone on with."""
        self._memory.close()

    def _unwritten(self) -> Iterator[Row]:
        """Give the rows of this bucket and prefix that this run did not write."""
        with ThreadPoolExecutor(SEGMENTS, thread_name_prefix="scan") as pool:
            starts: dict[int, Row | None] = dict.fromkeys(range(SEGMENTS))
            while starts:
                answers = list(pool.map(self._scan, starts, starts.values()))
                starts = {
                    segment: answer["LastEvaluatedKey"]
                    for segment, answer in zip(starts, answers, strict=True)
                    if answer.get("LastEvaluatedKey")
                }
                for answer in answers:
                    yield from filter(self._is_unwritten, answer["Items"])

    def _scan(self, segment: int, start: Row | None) -> dict[str, Any]:
        more = {} if start is None else {"ExclusiveStartKey": start}
        return self._table.scan(
            Segment=segment,
            TotalSegments=SEGMENTS,
            ConsistentRead=True,
            ProjectionExpression=_LOOKED_AT,
            **more,
        )

    def _is_unwritten(self, row: Row) -> bool:
        key = row.get("auditObjectKey", {}).get("S", "")
        if row.get("auditBucket", {}).get("S") != self._bucket or not key.startswith(self._prefix):
            return False
        if key in self._unread:
            return False
        return not self._memory.execute("SELECT 1 FROM written WHERE row = ?", (_digest(row),)).fetchone()

    def _remove_if_wrong(self, row: Row) -> bool:
        try:
            item = self._reread(row["auditObjectKey"]["S"])
        except LookupError:
            return False
        key = {name: row[name] for name in ("id", "createdAt")}
        if item is not None and key_of(item) == key:
            return False
        with suppress(ConditionFailedError):
            self._table.delete(key, condition=STILL_OF_THAT_OBJECT, values={":key": row["auditObjectKey"]})
            return True
        return False


def _digest(row: Row) -> bytes:
    """Give what stands for a row's key in the memory: sixteen bytes instead of a hundred."""
    return hashlib.blake2b(f"{row['id']['S']}\n{row['createdAt']['S']}".encode(), digest_size=16).digest()


def _opened(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        memory = sqlite3.connect(path, check_same_thread=False)
        memory.execute("PRAGMA journal_mode = WAL")
        for statement in _TABLES:
            memory.execute(statement)
    except (OSError, sqlite3.Error) as error:
        raise IndexUnavailableError(
            f"cannot remember progress in {path}: {error}; give this user the right to write there, set AUDIT_DATA_DIR, "
            "or remove the file"
        ) from error
    return memory
