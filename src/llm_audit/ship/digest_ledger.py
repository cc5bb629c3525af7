"""What the shipper's ledger knows of digests: which rows they list, where each chain stands, what is yet to be put.

A digest is kept here, signed, before it is put: its chain goes on from what is kept, so that a crash, or a store that is away,
leaves no gap and no second version of a digest. Rows of ``stored`` have growing ids in the order of commitment, so
"listed" is one number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from llm_audit.integrity.digests import ChainEnd, Made, Place
from llm_audit.ship.ledger import Ledger


class Waiting(NamedTuple):
    """A digest that is not known to be in the store."""

    writer: str
    number: int
    key: str
    data: bytes


class DigestLedger:
    """The digests' side of an open ledger. Every method may raise LedgerError or sqlite3.Error."""

    def __init__(self, ledger: Ledger) -> None:
        """Begin: from now on, rows are kept until digests list them."""
        self._ledger = ledger
        self._db = ledger.db
        with ledger.transaction():
            self._db.execute("INSERT OR IGNORE INTO digested VALUES (1, 0)")

    def through(self) -> int:
        """Give the id of the last row that is listed; 0 before the first."""
        return int(self._db.execute("SELECT through FROM digested").fetchone()[0])

    def newest(self) -> int:
        """Give the id of the last row that there is."""
        return int(self._db.execute("SELECT coalesce(max(id), 0) FROM stored").fetchone()[0])

    def ends(self) -> dict[str, ChainEnd]:
        """Give where each writer's chain stands."""
        rows = self._db.execute("SELECT writer, number, sha256, to_ms, boot, sequence FROM digest_chains")
        return {
            writer: ChainEnd(number, sha256, to_ms, None if boot is None else (boot, sequence))
            for writer, number, sha256, to_ms, boot, sequence in rows
        }

    def place_before(self, writer: str) -> Place | None:
        """Give the place before the first that a writer's first digest can list; None where that is the very first."""
        first = self._db.execute(
            "SELECT boot, sequence FROM stored WHERE writer = ? ORDER BY boot, sequence LIMIT 1", (writer,)
        ).fetchone()
        oldest = self._db.execute("SELECT min(id) FROM stored").fetchone()[0]
        if first is not None:
            return None if oldest == 1 else (first[0], first[1] - 1)
        mark = self._ledger.mark(writer)
        return None if mark is None else mark.place

    def keep(self, through: int, made: Mapping[str, Sequence[Made]]) -> None:
        """Keep digests that list all rows up to an id, and move the chains on; durably, all or nothing."""
        with self._ledger.transaction():
            self._db.execute("UPDATE digested SET through = ?", (through,))
            for writer, digests in made.items():
                end = digests[-1].end
                self._db.execute(
                    "INSERT OR REPLACE INTO digest_chains VALUES (?, ?, ?, ?, ?, ?)",
                    (writer, end.number, end.sha256, end.to_ms, *(end.place or (None, None))),
                )
                self._db.executemany(
                    "INSERT INTO digest_outbox VALUES (?, ?, ?, ?)",
                    [(writer, one.end.number, one.key, one.data) for one in digests],
                )

    def next_waiting(self) -> Waiting | None:
        """Give the next digest to put; a writer's own in their order."""
        row = self._db.execute(
            "SELECT writer, number, key, data FROM digest_outbox ORDER BY writer, number LIMIT 1"
        ).fetchone()
        return None if row is None else Waiting(*row)

    def count_waiting(self) -> int:
        """Say how many digests are yet to be put."""
        return int(self._db.execute("SELECT count(*) FROM digest_outbox").fetchone()[0])

    def delivered(self, waiting: Waiting) -> None:
        """Remember that a digest lies in the store; forgotten in a power cut, it is put again and found there."""
        with self._ledger.transaction(is_durable=False):
            self._db.execute(
                "DELETE FROM digest_outbox WHERE writer = ? AND number = ?", (waiting.writer, waiting.number)
            )

    def give_up_chain(self, writer: str) -> None:
        """Forget a chain that is not the one in the store (this ledger is an older copy); all rows are listed again."""
        with self._ledger.transaction():
            self._db.execute("DELETE FROM digest_outbox WHERE writer = ?", (writer,))
            self._db.execute("DELETE FROM digest_chains WHERE writer = ?", (writer,))
            self._db.execute("UPDATE digested SET through = 0")


def stop_digesting(ledger: Ledger) -> None:
    """Let go of rows that no digest lists: nobody makes any."""
    with ledger.transaction():
        ledger.db.execute("DELETE FROM digested")
