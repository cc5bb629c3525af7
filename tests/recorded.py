"""A data folder with real records in it, and the real command line run on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner, Result

from calls import key_of
from llm_audit.cli.main import main
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.ingest.ingest import Notification, ingest
from llm_audit.record.encoding import encode_record
from llm_audit.record.schema import Record
from llm_audit.store.folder import FolderStore


@dataclass(frozen=True, slots=True)
class Recorded:
    """One data folder, as ``serve`` leaves it."""

    data_dir: Path

    @property
    def index_path(self) -> Path:
        return self.data_dir / "index" / "audit.sqlite3"

    @property
    def store(self) -> FolderStore:
        return FolderStore(self.data_dir / "objects")

    def keep(self, records: Iterable[Record], *, name: str | None = None, is_indexed: bool = True) -> None:
        """Store records as objects and, unless told otherwise, index them."""
        store = self.store
        found = []
        for record in records:
            store.put_new(key_of(record, name), encode_record(record))
            found.append(Notification(store.bucket, key_of(record, name)))
        if is_indexed:
            index = SqliteIndex(self.index_path)
            ingest(found, lambda one: store.stream(one.key), index)
            index.close()

    def run(self, *arguments: str, environ: dict[str, str | None] | None = None) -> Result:
        """Run the command line in this process; what came out stands in ``stdout`` and ``stderr``."""
        return CliRunner().invoke(main, self.arguments(*arguments), env={"COLUMNS": None, **(environ or {})})

    def arguments(self, *arguments: str) -> list[str]:
        return [*arguments, "--data-dir", str(self.data_dir)]
