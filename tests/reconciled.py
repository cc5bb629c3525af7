"""A data folder as ``serve`` leaves it: real journals, shipped by a real shipper, indexed by the real ingestion."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from journal_traffic import call, open_writer
from llm_audit.cli.processes.shipper import indexing
from llm_audit.cli.settings import load_settings
from llm_audit.ship.shipper import Shipper
from recorded import Recorded
from ship_running import ship_config


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the ledger, and what lies where it says."""

    writer: str
    boot: int
    sequence: int
    key: str
    id: int

    @property
    def place(self) -> tuple[str, int, int]:
        return self.writer, self.boot, self.sequence

    @property
    def stem(self) -> str:
        return self.key.rpartition("/")[2].removesuffix(".json")


class System(Recorded):
    """A data folder, and means to break it."""

    @property
    def journal(self) -> Path:
        return self.data_dir / "journal"

    @property
    def ledger_path(self) -> Path:
        return self.journal / "ledger.sqlite3"

    def write(self, writer: str, calls: int) -> None:
        """One boot of a writer, with so many calls, closed cleanly."""
        journal = open_writer(self.journal, writer=writer)
        for number in range(calls):
            call(journal, f"call {number}")
        journal.close()

    def ship(self) -> None:
        """Ship and index all there is, then stop."""

        async def scenario() -> None:
            settings = load_settings({"AUDIT_DATA_DIR": str(self.data_dir)})
            with indexing(settings, self.store) as notify:
                stop = asyncio.Event()
                stop.set()
                await Shipper(ship_config(self.data_dir), self.store, notify).run(stop)

        asyncio.run(scenario())

    def rows(self) -> list[Row]:
        """Give the ledger's rows, in order of place."""
        with closing(sqlite3.connect(self.ledger_path)) as ledger:
            found = ledger.execute(
                "SELECT writer, boot, sequence, key, id FROM stored ORDER BY writer, boot, sequence"
            )
            return [Row(*row) for row in found]

    def object_file(self, row: Row) -> Path:
        return self.data_dir / "objects" / row.key

    def drop_items(self, *rows: Row) -> None:
        stems = [(row.stem,) for row in rows]
        _run(self.index_path, "DELETE FROM items WHERE createdAt LIKE '%#' || ?", stems)

    def drop_rows(self, *rows: Row) -> None:
        _run(self.ledger_path, "DELETE FROM stored WHERE id = ?", [(row.id,) for row in rows])

    def change_item(self, row: Row, change: str, *values: object) -> None:
        _run(
            self.index_path,
            f"UPDATE items SET {change} WHERE createdAt LIKE '%#' || ?",
            [(*values, row.stem)],
        )

    def reconcile(self, *arguments: str, grace: str = "0") -> Reconciled:
        result = self.run("reconcile", "--json", "--grace", grace, *arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert lines, result.stderr
        return Reconciled(result.exit_code, lines[:-1], lines[-1]["figures"], lines[-1]["notLookedAt"])


def _run(path: Path, statement: str, parameters: list[tuple[object, ...]]) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA synchronous = OFF")
        database.executemany(statement, parameters)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What the command said."""

    exit_code: int
    findings: list[dict]
    figures: dict
    not_looked_at: list[str]

    def found(self) -> list[tuple[str, str]]:
        """Give kind and subject of each finding, sorted."""
        return sorted((one["finding"], one["subject"]) for one in self.findings)

    def counts(self) -> tuple[int, ...]:
        """Give accepted, recorded, indexed, under way, unexplained."""
        names = ("accepted", "recorded", "indexed", "underWay", "unexplained")
        return tuple(self.figures[name] for name in names)
