"""The writer directories of one journal, as the shipper sees them: found, recovered when orphaned, read, freed."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from llm_audit.journal.files import segment_names, writer_directories
from llm_audit.journal.model import JournalFailedError, JournalFormatError
from llm_audit.journal.reader import WriterReader
from llm_audit.journal.recovery import orphans, try_recover
from llm_audit.ship.ledger import Ledger
from llm_audit.ship.line import Line
from llm_audit.ship.status import WriterStatus

_LOG = logging.getLogger(__name__)

READ_AT_ONCE = 32
SCAN_EVERY_S = 1.0
TROUBLE_PAUSE_S = 5.0
"""A journal that cannot be read is left alone for so long."""


@dataclass(slots=True)
class Writer:
    """One writer's directory: its reader and its line."""

    id: str
    reader: WriterReader
    line: Line
    error: str | None = None
    paused_until: float = 0.0

    def read(self, now: float) -> None:
        """Let the line have what has newly ended; a journal that cannot be read is reported, and tried again."""
        if not self.line.needs_reading or now < self.paused_until:
            return
        try:
            self.line.add(self.reader.poll(READ_AT_ONCE))
            self.error = None
        except Exception as error:  # noqa: BLE001 - one writer's journal must not stop the others'
            self._pause(now, "read", error)

    def collect(self, now: float) -> None:
        """Free the segments whose records are all stored."""
        if now < self.paused_until:
            return
        try:
            self.reader.collect()
        except Exception as error:  # noqa: BLE001 - see read
            self._pause(now, "free", error)

    def _pause(self, now: float, doing: str, error: Exception) -> None:
        message = f"cannot {doing} the journal in {self.reader.directory}: {describe(error)}"
        if message != self.error:
            _LOG.error("%s", message)
        self.error = message
        self.paused_until = now + TROUBLE_PAUSE_S

    def status(self) -> WriterStatus:
        """Say how it stands."""
        mark = self.line.mark
        return WriterStatus(
            journal_bytes=self.reader.backlog_bytes(),
            open_exchanges=self.reader.open_exchanges(),
            unshipped=self.reader.unstored(),
            boot=None if mark is None else mark.place[0],
            sequence=None if mark is None else mark.place[1],
            error=self.error,
        )


class Writers:
    """All writer directories below one journal folder."""

    def __init__(self, journal: Path, ledger: Ledger, orphan_after_s: float) -> None:
        """``orphan_after_s``: how long a directory may be without a living writer before it is recovered."""
        self._journal = journal
        self._ledger = ledger
        self._orphan_after_s = orphan_after_s
        self._writers: dict[str, Writer] = {}
        self._unlocked_since: dict[Path, float] = {}
        self._recovered: dict[Path, int] = {}
        """Up to which boot: between two scans a writer may come, and die again."""
        self._scan_at = 0.0

    def __iter__(self) -> Iterator[Writer]:
        """Give every writer."""
        return iter(self._writers.values())

    def ids(self) -> list[str]:
        """Give the id of every writer."""
        return list(self._writers)

    def __getitem__(self, writer_id: str) -> Writer:
        """Give the writer of that id."""
        return self._writers[writer_id]

    def scan(self, now: float, *, at_once: bool = False) -> None:
        """Find new directories, and recover those whose writer died; once a second, or ``at_once``.

        A supervisor that restarts a proxy lets it adopt its old directory: only what stays without a writer for
        a while is recovered here.
        """
        if now < self._scan_at and not at_once:
            return
        self._scan_at = now + SCAN_EVERY_S
        for directory in writer_directories(self._journal):
            if directory.name not in self._writers:
                mark = self._ledger.mark(directory.name)
                beyond = self._ledger.beyond(directory.name, None if mark is None else mark.place)
                self._writers[directory.name] = Writer(
                    directory.name, WriterReader(directory), Line(mark, beyond)
                )
        self._recover(now, at_once=at_once)

    def _recover(self, now: float, *, at_once: bool) -> None:
        unlocked = {path: _newest_boot(path) for path in orphans(self._journal)}
        self._unlocked_since = {path: self._unlocked_since.get(path, now) for path in unlocked}
        for directory, boot in unlocked.items():
            if boot is None or self._recovered.get(directory) == boot:
                continue
            if not at_once and now - self._unlocked_since[directory] < self._orphan_after_s:
                continue
            try:
                if try_recover(directory):
                    self._recovered[directory] = boot
            except Exception as error:  # noqa: BLE001 - see Writer.read
                self._unlocked_since[directory] = now + TROUBLE_PAUSE_S
                self._writers[directory.name].error = f"cannot recover {directory}: {describe(error)}"

    def close(self) -> None:
        """Close every reader."""
        for writer in self:
            writer.reader.close()


def _newest_boot(directory: Path) -> int | None:
    names = segment_names(directory)
    return names[-1].boot if names else None


def describe(error: Exception) -> str:
    """Say what an error is: in its own words where they are meant for people, else by its type and place alone.

    The message of any other may quote what somebody wrote to a model, and that belongs in no log.
    """
    if isinstance(error, OSError | JournalFailedError | JournalFormatError):
        return str(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"
