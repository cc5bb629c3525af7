"""One comparison of journal, ledger, store and index: every call once, in little memory, whatever their number.

The order of reading keeps a running system from looking broken: first ledger and index, then the store, last the
journal. What ledger or index speak of was stored before, so the listing must have it; what the journal has and
was not stored when it was read is asked for once more. What came to the store meanwhile is young.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from llm_audit.cli.comparing.journals import Journals
from llm_audit.cli.comparing.objects import Opened, open_object, place_of
from llm_audit.cli.comparing.sources import Scope, indexed_rows, ledgered_rows, stored_rows
from llm_audit.index.index import IndexReader
from llm_audit.index.schema import ItemSettings
from llm_audit.ingest.ingest import ItemWriter, Notification, ingest
from llm_audit.integrity.completeness import (
    Call,
    Figures,
    Finding,
    Indexed,
    Kind,
    Ledgered,
    Rules,
    is_record,
    joined,
    judge,
    needs_reading,
)
from llm_audit.integrity.sequences import Gap, Place, PlaceRow, Suspects, gaps, place_row
from llm_audit.integrity.sorting import CHUNK_ROWS, Sorter
from llm_audit.ship.ledger_reader import LedgerReader
from llm_audit.store.objects import ObjectStore

BATCH = 500
"""Calls judged, and objects indexed again, at a time."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Sources:
    """What there is to compare; None where this machine has none."""

    store: ObjectStore
    index: IndexReader | None
    ledger: LedgerReader | None
    journal: Path | None


class Unplaced(NamedTuple):
    """An object of which nobody said where in its writer's chain it stands; writer and sequence if the item did."""

    key: str
    writer: str | None
    sequence: int | None


@dataclass(slots=True)
class Comparison:
    """One run. ``repair_into``: an index into which objects go whose items are missing or different."""

    sources: Sources
    scope: Scope
    rules: Rules
    on_finding: Callable[[Finding], None]
    on_progress: Callable[[str, int], None] = lambda _doing, _count: None
    repair_into: ItemWriter | None = None
    item_settings: ItemSettings = field(default_factory=ItemSettings)
    readers: int = 1
    figures: Figures = field(default_factory=Figures)

    def run(self) -> Figures:
        """Compare everything. Raises StoreError, LedgerError, IndexUnavailableError, OSError."""
        with ExitStack() as opened:
            ledgered = opened.enter_context(Sorter(Ledgered._make))
            chunk_rows = CHUNK_ROWS // 5 if self.scope.is_deep else CHUNK_ROWS  # fingerprints are long
            indexed = opened.enter_context(Sorter(Indexed._make, chunk_rows=chunk_rows))
            places = opened.enter_context(Sorter(PlaceRow._make))
            unplaced = opened.enter_context(Sorter(Unplaced._make))
            pool = opened.enter_context(ThreadPoolExecutor(self.readers, thread_name_prefix="compare"))
            through = self._read_ledger(ledgered)
            if self.sources.index is not None:
                items = indexed_rows(self.sources.index, self.scope, self.figures)
                indexed.filled(self._watched("items read", items))
            stored = stored_rows(self.sources.store, self.scope, self.figures)
            calls = self._watched(
                "calls compared", filter(self._is_record, joined(ledgered, stored, indexed))
            )
            while batch := list(islice(calls, BATCH)):
                self._compare(batch, pool, places, unplaced)
            self._read_journal(places)
            self._find_gaps(places, unplaced, through)
        return self.figures

    def _read_ledger(self, ledgered: Sorter[Ledgered]) -> dict[tuple[str, int], int]:
        """Read the ledger; give how far each writer's last boot has records, where the range goes on till now."""
        ledger = self.sources.ledger
        if ledger is None:
            return {}
        marks = ledger.marks()
        ledgered.filled(self._watched("ledger rows read", ledgered_rows(ledger, self.scope, self.figures)))
        if not self.scope.days.reach(self.rules.now_ms):
            return {}
        return {(writer, boot): sequence for writer, boot, sequence in marks}

    def _watched(self, doing: str, rows: Iterable[_T]) -> Iterator[_T]:
        for count, row in enumerate(rows):
            if count % BATCH == 0:
                self.on_progress(doing, count)
            yield row

    def _is_record(self, call: Call) -> bool:
        if is_record(call):
            return True
        self.figures.other_objects += 1
        return False

    def _compare(
        self,
        batch: list[Call],
        pool: ThreadPoolExecutor,
        places: Sorter[PlaceRow],
        unplaced: Sorter[Unplaced],
    ) -> None:
        mend: list[Notification] = []
        several = pool.map if self.readers > 1 else map
        for call, opened in zip(batch, several(self._open, batch), strict=True):
            if opened is not None:
                self.figures.read += 1
                self.figures.counted_only += opened.counted
            self._place(call, opened, places, unplaced)
            verdict = judge(call, opened.seen if opened else None, self.rules)
            self.figures.add(verdict)
            if verdict.finding is not None:
                self.on_finding(verdict.finding)
                if verdict.finding.repair:
                    mend.append(Notification(self.sources.store.bucket, call.key))
        if mend and self.repair_into is not None:
            store = self.sources.store
            result = ingest(
                mend,
                lambda one: store.stream(one.key),
                self.repair_into,
                self.item_settings,
                readers=self.readers,
            )
            self.figures.repaired += result.written

    def _open(self, call: Call) -> Opened | None:
        will_repair = self.repair_into is not None
        if call.stored is None or not (self.scope.is_deep or needs_reading(call, will_repair=will_repair)):
            return None
        return open_object(self.sources.store, call.key, self.item_settings)

    def _place(
        self, call: Call, opened: Opened | None, places: Sorter[PlaceRow], unplaced: Sorter[Unplaced]
    ) -> None:
        """Remember where in its writer's chain the call stands, or that nobody has said so yet."""
        for row in call.ledgered:
            places.add(place_row(Place(row.writer, row.boot, row.sequence)))
        if opened is not None and opened.seen.place is not None:
            places.add(place_row(opened.seen.place))
        elif not call.ledgered:
            item = call.indexed[0] if call.indexed else None
            unplaced.add(Unplaced(call.key, item and item.writer, item.sequence if item else None))

    def _read_journal(self, places: Sorter[PlaceRow]) -> None:
        if self.sources.journal is None:
            return
        self.on_progress("calls compared; reading the journal", self.figures.accepted)
        journals = Journals(
            self.sources.journal, self.sources.store, self.sources.ledger, self.rules, self.scope
        )
        journals.compare(self.figures, self.on_finding, lambda place: places.add(place_row(place)))

    def _find_gaps(
        self,
        places: Sorter[PlaceRow],
        unplaced: Sorter[Unplaced],
        through: dict[tuple[str, int], int],
    ) -> None:
        """Report the sequences of which nothing is known, once every record that could be one was opened."""
        ledger = self.sources.ledger
        knows_all = self.scope.is_deep or (ledger is not None and ledger.is_whole())
        is_from_zero = self.scope.days.first is None and knows_all
        suspects = Suspects(gaps(places, through, from_zero=is_from_zero))
        if not suspects:
            return
        if ledger is not None:
            _forgive_remembered(suspects, ledger)
        self._forgive_opened(suspects, unplaced)
        for gap in suspects.left():
            finding = _gap_finding(gap)
            self.figures.add_finding(finding)
            self.on_finding(finding)

    def _forgive_opened(self, suspects: Suspects, unplaced: Iterable[Unplaced]) -> None:
        """Open every record that could be a missing one. Of what cannot be opened, an item says enough."""
        told: list[tuple[str, int]] = []
        for one in self._watched("calls compared; looking for missing sequences", self._candidates(unplaced)):
            if suspects.may_hold(one.writer, one.sequence):
                place = place_of(self.sources.store, one.key)
                if place is not None:
                    suspects.found(place)
                elif one.writer is not None and one.sequence is not None:
                    told.append((one.writer, one.sequence))
        for writer, sequence in told:
            suspects.told_of(writer, sequence)

    def _candidates(self, unplaced: Iterable[Unplaced]) -> Iterator[Unplaced]:
        """Give the records whose place nobody has said, those of the days around the range included."""
        yield from unplaced
        if self.sources.index is not None:
            for days in self.scope.days.neighbours():
                for item in self.sources.index.items(days.since, days.until):
                    yield Unplaced(item.audit_object_key, item.writer_id, item.sequence)


def _forgive_remembered(suspects: Suspects, ledger: LedgerReader) -> None:
    """Take out what the ledger has a row of now: stored while we read, or of a day that is not compared."""
    for gap in list(suspects.left()):
        for sequence in ledger.sequences(gap.writer, gap.boot, gap.first, gap.last):
            suspects.found(Place(gap.writer, gap.boot, sequence))


def _gap_finding(gap: Gap) -> Finding:
    where = f"writer {gap.writer}, boot {gap.boot}, "
    which = f"sequence {gap.first}" if gap.records == 1 else f"sequences {gap.first} to {gap.last}"
    return Finding(
        Kind.SEQUENCE_GAP,
        f"{gap.writer}-{gap.boot}-{gap.first}",
        f"{where}{which}: no record, item, ledger row or journal entry speaks of it",
        calls=gap.records,
    )
