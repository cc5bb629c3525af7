"""Verification: every digest, every object that one lists, every object that none lists."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from llm_audit.cli.verifying.reading import DigestReader, Place, checking
from llm_audit.integrity.chains import Chain
from llm_audit.integrity.digest_check import EntryRow
from llm_audit.integrity.digests import PREFIX, parse_digest_key
from llm_audit.integrity.findings import Finding, Kind, Range
from llm_audit.integrity.sorting import Sorter
from llm_audit.store.keys import parse_key
from llm_audit.store.objects import ObjectEntry, ObjectMissingError, ObjectStore


@dataclass(slots=True)
class Figures:
    """The count of a verification."""

    writers: int = 0
    digests: int = 0
    listed: int = 0
    """Entries of all digests."""
    intact: int = 0
    """Of those: the object is there, and is what was signed."""
    bytes_read: int = 0
    listed_again: int = 0
    """Entries that say what an earlier one said (a shipper that lost its ledger lists again)."""
    not_listed_yet: int = 0
    """Objects that the next digest will list: stored since the last, or on their way when it was made."""
    not_stored_yet: int = 0
    """Records that a digest counts, and whose objects were not stored when it was made."""
    before_digests: int = 0
    """Objects from before their writer's first digest: nothing speaks for them."""
    findings: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Give it with the names of JSON lines."""
        return {_camel(name): value for name, value in asdict(self).items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


@dataclass(frozen=True, slots=True)
class Pin:
    """The number and sha256 of a writer's digest, kept outside: the chain must hold it."""

    writer: str
    number: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Scope:
    """What to verify: records below this prefix (and whatever digests list), and the pins to hold it against."""

    prefix: str
    pins: tuple[Pin, ...] = ()
    jobs: int = 1


class Verification:
    """One run."""

    def __init__(
        self,
        store: ObjectStore,
        reader: DigestReader,
        place: Place,
        scope: Scope,
        *,
        on_finding: Callable[[Finding], None],
        on_progress: Callable[[str, int], None],
    ) -> None:
        self._store = store
        self._reader = reader
        self._place = place
        self._scope = scope
        self._on_finding = on_finding
        self._on_progress = on_progress
        self.figures = Figures()
        self.chains: dict[str, Chain] = {}

    def run(self) -> Figures:
        """Verify all of it. Raises StoreError, OSError (the temporary folder is full)."""
        with Sorter[EntryRow](tuple) as listed:
            prefixes = self._digests(listed)
            self._objects(listed, prefixes)
        if not self.figures.digests:
            self._found(
                [Finding(Kind.MISSING, PREFIX, "there is no digest: nothing speaks for these records")]
            )
        return self.figures

    def _found(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.figures.findings += 1
            self._on_finding(finding)

    def _digests(self, listed: Sorter[EntryRow]) -> set[str]:
        """Check every digest; give the prefixes below which there are records."""
        prefixes = {self._scope.prefix}
        seen: dict[tuple[str, int], set[str]] = {}
        with checking(self._place, self._reader, self._scope.jobs) as checker:
            for checked in checker.results(self._digest_keys()):
                chain = self.chains.setdefault(checked.name.writer, Chain(checked.name.writer))
                self._found(chain.add(checked))
                if any(
                    (pin.writer, pin.number) == (checked.name.writer, checked.name.number)
                    for pin in self._scope.pins
                ):
                    seen.setdefault((checked.name.writer, checked.name.number), set()).add(checked.sha256)
                self.figures.digests += 1
                if chain.took(checked):
                    self.figures.listed += len(checked.keys)
                    self.figures.intact += checked.intact
                    self.figures.bytes_read += checked.bytes_read
                    listed.filled(checked.keys)
                    _add_prefixes(prefixes, checked.keys)
                self._on_progress("records verified", self.figures.listed)
        self.figures.writers = len(self.chains)
        self._found(_unpinned(self._scope.pins, seen))
        for chain in self.chains.values():
            self._found(chain.finish())
            self.figures.not_stored_yet += chain.open_records
        return prefixes

    def _digest_keys(self) -> Iterator[str]:
        for entry in self._store.list(PREFIX):
            if parse_digest_key(entry.key) is None:
                self._found(
                    [
                        Finding(
                            Kind.UNLISTED, entry.key, "it lies among the digests, and its name is no digest's"
                        )
                    ]
                )
            else:
                yield entry.key

    def _objects(self, listed: Sorter[EntryRow], prefixes: set[str]) -> None:
        """Go through the listing of all objects and the list of all entries, side by side."""
        objects = iter(self._listing(prefixes))
        one = next(objects, None)
        same: list[EntryRow] = []
        for count, row in enumerate(listed):
            key = row[0]
            if same and same[0][0] == key:
                same.append(row)
                continue
            self._found(self._listed_again(same))
            same = [row]
            while one is not None and one.key < key:
                self._unlisted(one)
                one = next(objects, None)
            while one is not None and one.key == key:
                one = next(objects, None)
            if count % 1000 == 0:
                self._on_progress("objects looked for in digests", count)
        self._found(self._listed_again(same))
        while one is not None:
            self._unlisted(one)
            one = next(objects, None)
        for chain in self.chains.values():
            for key, place in chain.repeated.items():
                detail = "it is listed for a place for which another object is listed before"
                self._found([Finding(Kind.DUPLICATED, key, detail, Range(chain.writer, place, place))])
            self._found(chain.finish_unlisted())

    def _listing(self, prefixes: set[str]) -> Iterator[ObjectEntry]:
        """List all objects once, whichever prefixes lie within others; digests are none."""
        tops = sorted(p for p in prefixes if not any(p != q and p.startswith(f"{q}/") for q in prefixes))
        listings = [self._store.list(top) for top in tops]
        if len(listings) == 1:
            return listings[0]
        return heapq.merge(*listings, key=lambda entry: entry.key)

    def _listed_again(self, rows: list[EntryRow]) -> Iterable[Finding]:
        """Say what is wrong where several entries have one key: nothing, if all say the same."""
        if len(rows) < 2:
            return ()
        key, writer, boot, sequence, _ = rows[0]
        for row in rows:
            self.chains[row[1]].repeated.pop(key, None)
        if all(row == rows[0] for row in rows):
            self.figures.listed_again += len(rows) - 1
            return ()
        place = (boot, sequence)
        return [
            Finding(
                Kind.DUPLICATED, key, "digests list it with different contents", Range(writer, place, place)
            )
        ]

    def _unlisted(self, entry: ObjectEntry) -> None:
        key = entry.key
        try:
            one = self._reader.look_at_unlisted(key, entry.size)
        except ObjectMissingError:
            return  # listed by the store and gone since: no digest speaks of it
        if one.linked is None:
            self._found([Finding(Kind.UNLISTED, key, "no digest lists it, and it is no record")])
            return
        chain = self.chains.get(one.linked.writer)
        if chain is None:
            whose = Range(one.linked.writer, one.linked.place, one.linked.place)
            self._found([Finding(Kind.UNLISTED, key, "its writer has no digest", whose)])
            return
        verdict = chain.judge_unlisted(key, one.sha256, one.linked)
        if isinstance(verdict, Finding):
            self._found([verdict])
        elif verdict:
            self.figures.not_listed_yet += 1
        else:
            self.figures.before_digests += 1


def _add_prefixes(prefixes: set[str], keys: Iterable[EntryRow]) -> None:
    """Add the prefixes of keys; nearly all begin as those before did."""
    known = tuple(f"{prefix}/" for prefix in prefixes)
    for key, *_ in keys:
        name = None if key.startswith(known) else parse_key(key)
        if name is not None and name.prefix:
            prefixes.add(name.prefix)


def _unpinned(pins: Iterable[Pin], seen: Mapping[tuple[str, int], set[str]]) -> Iterator[Finding]:
    for pin in pins:
        there = seen.get((pin.writer, pin.number), set())
        subject = f"{PREFIX}/{pin.writer}"
        if not there:
            yield Finding(
                Kind.TRUNCATED,
                subject,
                f"its digest {pin.number}, which was pinned, is not there",
                Range(pin.writer),
            )
        elif pin.sha256 not in there:
            yield Finding(
                Kind.MODIFIED,
                subject,
                f"its digest {pin.number} is not the one that was pinned",
                Range(pin.writer),
            )
