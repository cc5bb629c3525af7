"""Journals, only read: calls that have ended and are not stored, calls that are open, calls that went unaudited."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from llm_audit.cli.comparing.sources import Scope
from llm_audit.integrity.completeness import Figures, Finding, Kind, Rules
from llm_audit.integrity.sequences import Place
from llm_audit.journal.counted import read_counts, read_refusals
from llm_audit.journal.files import locked, segment_names, writer_directories
from llm_audit.journal.model import EndedExchange, JournalFormatError
from llm_audit.journal.reader import WriterReader
from llm_audit.record.encoding import HEAD_LIMIT
from llm_audit.ship.build import BuiltRecord, build_stub
from llm_audit.ship.ledger_reader import LedgerReader
from llm_audit.ship.storing import writer_in
from llm_audit.store.objects import ObjectMissingError, ObjectStore

_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Journals:
    """What a journal's calls are compared with."""

    folder: Path
    store: ObjectStore
    ledger: LedgerReader | None
    rules: Rules
    scope: Scope

    def compare(
        self, figures: Figures, on_finding: Callable[[Finding], None], on_place: Callable[[Place], None]
    ) -> None:
        """Go through all writers. Raises StoreError, LedgerError.

        A segment that the shipper frees meanwhile is no loss: what ended in it is stored by then, and is asked for
        after it was read here.
        """
        for directory in writer_directories(self.folder):
            try:
                total, told = read_counts(directory)
                figures.unaudited += total
                figures.unaudited_untold += total - told
                total, told = read_refusals(directory)
                figures.refusals_counted += total
                figures.refusals_counted_untold += total - told
                for finding in self._writer(directory, figures, on_place):
                    figures.add_finding(finding)
                    on_finding(finding)
            except (OSError, JournalFormatError) as error:
                finding = Finding(Kind.JOURNAL_UNREADABLE, directory.name, str(error), calls=0)
                figures.add_finding(finding)
                on_finding(finding)

    def _writer(
        self, directory: Path, figures: Figures, on_place: Callable[[Place], None]
    ) -> Iterator[Finding]:
        reader = WriterReader(directory, sync=lambda _: None)
        try:
            while batch := reader.poll(_AT_ONCE):
                for ended in batch:
                    reader.stored(ended)  # this reader's own memory of it: nothing is freed
                    on_place(Place(ended.opening.writer_id, ended.opening.boot, ended.sequence))
                    finding = self._ended(ended, figures)
                    if finding is not None:
                        yield finding
            still_open = reader.open_exchanges()
        finally:
            reader.close()
        if not still_open or not self.scope.days.reach(self.rules.now_ms):
            return
        if _is_alive(directory) or self.rules.is_young(_last_change_ms(directory)):
            figures.add_under_way(still_open)
        else:
            yield Finding(
                Kind.NOT_ENDED,
                directory.name,
                f"{still_open} calls are open in the journal of a writer that is gone",
                calls=still_open,
            )

    def _ended(self, ended: EndedExchange, figures: Figures) -> Finding | None:
        """Say what is wrong with a call that has ended; counts it where it is still on its way."""
        place = (ended.opening.writer_id, ended.opening.boot, ended.sequence)
        if self.ledger is not None and self.ledger.has_row(*place):
            return None  # it was compared by that row, or will be the next time
        built = build_stub(ended, None, "")  # for its names: they are the same as the record's
        if not self.scope.holds(built.key) or self._is_stored(built):
            return None
        where = f"writer {place[0]}, boot {place[1]}, sequence {place[2]}"
        if self.ledger is not None and self.ledger.is_behind_mark(*place):
            detail = f"the ledger says that all up to it was stored ({where}); there is no object, but the journal has it"
            return Finding(Kind.OBJECT_MISSING, built.key, detail)
        if self.rules.is_young(_ended_ms(ended)):
            figures.add_under_way(1)
            return None
        damage = f"; {ended.damage}" if ended.damage else ""
        return Finding(
            Kind.NOT_STORED, built.key, f"it has ended ({where}) and lies in the journal alone{damage}"
        )

    def _is_stored(self, built: BuiltRecord) -> bool:
        """Look where the shipper would have put it, and whether it is this very call that lies there."""
        at = built.writer
        try:
            if writer_in(self.store.get_head(built.key, HEAD_LIMIT)) == (at.id, at.boot, at.sequence):
                return True
            self.store.get_head(built.conflict_key, 1)
        except ObjectMissingError:
            return False
        return True


def _ended_ms(ended: EndedExchange) -> int:
    """Give when a call ended by the wall clock, milliseconds; its start, or its boot's, where no more is known."""
    if ended.request is None:
        return ended.opening.opened_wall_ns // 1_000_000
    took_ns = 0 if ended.end is None else max(0, ended.end.ended_mono_ns - ended.request.started_mono_ns)
    return (ended.request.started_wall_ns + took_ns) // 1_000_000


def _is_alive(directory: Path) -> bool:
    with locked(directory) as is_free:
        return not is_free


def _last_change_ms(directory: Path) -> int:
    """Give when the writer's last segment was changed; now, where it goes away under us."""
    try:
        names = segment_names(directory)
        return (directory / str(names[-1])).stat().st_mtime_ns // 1_000_000
    except (FileNotFoundError, IndexError):
        return time.time_ns() // 1_000_000
