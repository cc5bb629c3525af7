"""The embedded index: one SQLite file, one writer, any number of readers that never block it.

Write-ahead logging, so that readers see a snapshot and the writer goes on. Each batch is one synchronous
commit: whoever was told that an item is written (the shipper's ledger) need never write it again. The file
is 0600. ``reindex`` may set a damaged file aside while a writer has it open: the writer notices by the
file's identity and goes on in the new one, and a lock beside the file keeps anybody from opening it halfway.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from llm_audit.index import sqlite_activity, sqlite_counts
from llm_audit.index.activity import Activity
from llm_audit.index.index import (
    Arrivals,
    IndexDamagedError,
    IndexMissingError,
    IndexUnavailableError,
    Page,
)
from llm_audit.index.schema import Item, source_partition
from llm_audit.index.selection import Order, Selection, cursor_after
from llm_audit.index.sqlite_schema import (
    APPLICATION_ID,
    COLUMNS,
    FORMAT,
    Plan,
    create_statements,
    item_of,
    plans,
    row_of,
    upsert_statement,
)
from llm_audit.index.tallies import Grouping, Tallies

BUSY_SECONDS = 10.0
"""How long a writer waits for another (a reindex commits every few hundred items)."""

CACHE_KIB = 32 * 1024
"""Pages a writer keeps: the latency indexes are written all over, and would be read again each time."""

PROBE_LIMIT = 4000
"""Rows up to which a probe counts, to choose between plans; sorting so few takes some milliseconds."""

_CREATED_AT = COLUMNS.index("createdAt")

WALK_ROWS = 1000
"""Rows read at once when all are wanted: no snapshot is held for longer, so that the log can be folded back."""

_SELECTED = f"SELECT {', '.join(COLUMNS)} FROM items"  # noqa: S608 - our names


class SqliteReader:
    """Reads the embedded index. May be used from several threads, one call at a time."""

    def __init__(self, path: Path) -> None:
        """Open an existing index read-only; raises IndexMissingError, IndexDamagedError."""
        self.path = path
        self._lock = threading.Lock()
        self._connection, self._opened = _open_existing(path)

    def query(self, selection: Selection, cursor: str | None = None, limit: int = 50) -> Page:
        """Give a page; see ``IndexReader``. Every page is whole, never partial."""
        if limit < 1:
            raise ValueError(f"limit is {limit}, expected at least 1")
        with self._reading() as connection:
            plan = choose_plan(connection, plans(selection, cursor))
            rows = connection.execute(*plan.page(limit + 1)).fetchall()
        items = tuple(map(item_of, rows[:limit]))
        return Page(items, cursor_after(items[-1], selection.order) if len(rows) > limit else None)

    def get(self, request_id: str) -> tuple[Item, ...]:
        """Give the calls of a request id or of a stem, oldest first; see ``IndexReader``."""
        plain, _, rest = request_id.partition("~")
        with self._reading() as connection:
            rows = connection.execute(
                f"{_SELECTED} WHERE requestId = ? ORDER BY createdAt", (plain,)
            ).fetchall()
        items = tuple(map(item_of, rows))
        return tuple(item for item in items if item.stem == request_id) if rest else items

    def item_at(self, source: str | None, started_at: str, stem: str) -> Item | None:
        """Give the item of one object; see ``IndexReader``."""
        with self._reading() as connection:
            row = connection.execute(
                f"{_SELECTED} WHERE id = ? AND createdAt = ?",
                (source_partition(source), f"{started_at}#{stem}"),
            ).fetchone()
        return None if row is None else item_of(row)

    @property
    def poll_seconds(self) -> float:
        """Seconds between two looks at what arrived; each costs a fraction of a millisecond."""
        return 0.3

    def arrivals(self, position: str | None = None, limit: int = 500) -> Arrivals:
        """Give what was put since; see ``IndexReader``. An item that was put again does not come again."""
        with self._reading() as connection:
            last = connection.execute("SELECT max(number) FROM items").fetchone()[0] or 0
            if position is None:
                return Arrivals((), str(last))
            # A new file (after damage) counts from one again: whoever was further begins at its beginning.
            after = int(position) if int(position) <= last else 0
            rows = connection.execute(
                f"SELECT number, {', '.join(COLUMNS)} FROM items WHERE number > ? ORDER BY number LIMIT ?",  # noqa: S608 - our names
                (after, limit),
            ).fetchall()
        return Arrivals(tuple(item_of(row[1:]) for row in rows), str(rows[-1][0] if rows else after))

    def tallies(self, selection: Selection, by: Grouping) -> Tallies:
        """Count by group, exactly, over one snapshot; see ``IndexReader``."""
        with self._reading() as connection:
            candidates = plans(replace(selection, order=Order.NEWEST))
            plan = choose_plan(connection, candidates, otherwise=candidates[-1])
            return Tallies(sqlite_counts.count(connection, plan, by))

    def activity(self, selection: Selection, slot_characters: int) -> Activity:
        """Count over time, over one snapshot; see ``IndexReader``."""
        with self._reading() as connection:
            candidates = plans(replace(selection, order=Order.NEWEST))
            plan = choose_plan(connection, candidates, otherwise=candidates[-1])
            return sqlite_activity.activity(connection, plan, slot_characters)

    def items(self, since: str | None = None, until: str | None = None) -> Iterator[Item]:
        """Give every item of a range of time, oldest first; see ``IndexReader``."""
        last, number = since or "", -1
        statement = (
            f"SELECT number, {', '.join(COLUMNS)} FROM items INDEXED BY by_time "  # noqa: S608 - our names
            "WHERE (createdAt, number) > (?, ?) AND createdAt < ? ORDER BY createdAt, number LIMIT ?"
        )
        while True:
            with self._reading() as connection:
                rows = connection.execute(statement, (last, number, until or "~", WALK_ROWS)).fetchall()
            for row in rows:
                yield item_of(row[1:])
            if len(rows) < WALK_ROWS:
                return
            number, last = rows[-1][0], rows[-1][1 + _CREATED_AT]

    def check(self) -> int:
        """Let SQLite check the whole file; gives the number of items, raises IndexDamagedError."""
        with self._reading() as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise IndexDamagedError(f"index {self.path} is damaged ({found}); run `llm-audit reindex`")
            number: int = connection.execute("SELECT count(*) FROM items").fetchone()[0]
            return number

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._connection.close()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _own_errors(self.path):
            if not _is_same_file(self._opened, self.path):
                self._connection.close()
                self._connection, self._opened = _open_existing(self.path)
            yield self._connection


class SqliteIndex(SqliteReader):
    """Reads and writes the embedded index; makes it where there is none."""

    def __init__(self, path: Path) -> None:
        """Open or make the index at ``path``, folders 0700 and file 0600."""
        self.path = path
        self._lock = threading.Lock()
        self._connection, self._opened = _open_for_writing(path)

    def put(self, items: Sequence[Item]) -> None:
        """Write a batch in one durable commit; see ``Index``."""
        with self.writing() as connection:
            connection.executemany(upsert_statement(), map(row_of, items))

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _own_errors(self.path):
            yield self._current()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection within one transaction, committed at the end; for this room's own files."""
        with self._lock, _own_errors(self.path):
            connection = self._current()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _current(self) -> sqlite3.Connection:
        if not _is_same_file(self._opened, self.path):
            self._connection.close()
            self._connection, self._opened = _open_for_writing(self.path)
        return self._connection


def choose_plan(
    connection: sqlite3.Connection, candidates: Sequence[Plan], otherwise: Plan | None = None
) -> Plan:
    """Choose the plan whose index leaves the fewest rows; ``otherwise``, or the first, where all leave many.

    A probe counts on the index alone and stops at ``PROBE_LIMIT``, so choosing costs about a millisecond. A
    plan that is in order and leaves nothing to test reads just the page: nothing can be better.
    """
    if otherwise is None and candidates[0].is_ordered and not candidates[0].clauses:
        return candidates[0]
    best, fewest = otherwise or candidates[0], PROBE_LIMIT
    for plan in candidates:
        (count,) = connection.execute(*plan.probe(PROBE_LIMIT)).fetchone()
        if count < fewest:
            best, fewest = plan, count
    return best


def set_aside(path: Path) -> Path | None:
    """Rename a damaged index so that a new one can be made in its place; gives its new name, if it was there.

    A writer that has it open notices at its next batch and opens the new one.
    """
    with _opening(path, fcntl.LOCK_EX):
        if not path.exists():
            return None
        number = 1
        while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
            number += 1
        path.rename(aside)
        for suffix in ("-wal", "-shm"):
            companion = path.with_name(path.name + suffix)
            if companion.exists():
                companion.rename(aside.with_name(aside.name + suffix))
        return aside


_Opened = tuple[sqlite3.Connection, os.stat_result]


def _open_for_writing(path: Path) -> _Opened:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _opening(path, fcntl.LOCK_EX):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.fchmod(descriptor, 0o600)
            os.close(descriptor)
            with _own_errors(path):
                return _prepared(_connect(path, "rw"), path), path.stat()
    except OSError as error:
        raise IndexUnavailableError(
            f"cannot open index {path}: {error.strerror}; give this user the right to write there"
        ) from None


def _prepared(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    try:
        is_new = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
        if not is_new:
            _check_format(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        if is_new:
            connection.execute("BEGIN IMMEDIATE")
            for statement in create_statements():
                connection.execute(statement)
            connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _open_existing(path: Path) -> _Opened:
    if not path.is_file():
        raise IndexMissingError(
            f"there is no index at {path}; start `llm-audit serve`, or build one with `llm-audit reindex`"
        )
    # The file's identity first: if it is replaced between the two, the next call sees that it is another.
    opened = path.stat()
    with _own_errors(path):
        connection = _connect(path, "ro")
        try:
            _check_format(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection, opened


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    # No transaction that we did not begin ourselves; threads are kept apart by our own lock.
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise IndexDamagedError(f"{path} is no index of llm-audit; move it away and run `llm-audit reindex`")
    if version != FORMAT:
        raise IndexDamagedError(
            f"index {path} has format {version}, this program knows {FORMAT}; "
            "use the llm-audit that wrote it, or run `llm-audit reindex`"
        )


def _is_same_file(opened: os.stat_result, path: Path) -> bool:
    """Tell whether ``path`` still names the file that was opened."""
    try:
        return os.path.samestat(opened, path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def _opening(path: Path, kind: int) -> Iterator[None]:
    """Hold the lock beside the index: nobody opens it while its files are renamed or made."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _own_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, with advice."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise IndexUnavailableError(
                f"index {path} is locked by another process; wait for it (a reindex, a backup) and try again"
            ) from error
        raise IndexUnavailableError(f"index {path}: {error}; `llm-audit doctor` says more") from error
    except sqlite3.DatabaseError as error:
        raise IndexDamagedError(f"index {path} is damaged ({error}); run `llm-audit reindex`") from error
