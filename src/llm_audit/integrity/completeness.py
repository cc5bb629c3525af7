"""Is every call everywhere it should be? Facts about calls from ledger, store and index, joined and judged. Pure.

Each source gives what it knows as rows, sorted by the key under which the call's object should lie. Joined,
they are one ``Call`` after another; ``judge`` says of each in which class it is, and what is wrong, if anything.
A call is in exactly one class: indexed, under way, or unexplained. So the figures always add up.

Which of two that disagree is right? The ledger's digest was taken from the bytes that were put, so the ledger
wins. Without its row, an object and an item with different digests accuse each other: both are left alone, for
indexing the object again would wipe out the only trace that it was changed.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from llm_audit.integrity.sequences import Place
from llm_audit.record.schema import Outcome


class Ledgered(NamedTuple):
    """What the shipper's ledger says that it stored."""

    key: str
    writer: str
    boot: int
    sequence: int
    sha256: str
    size: int


class Stored(NamedTuple):
    """One object, as the listing has it; ``is_named_as_record``: the name alone says that it is a record."""

    key: str
    size: int
    modified_ms: int
    is_named_as_record: bool


class Indexed(NamedTuple):
    """One item. ``key`` follows from its start and stem; ``object_key`` is what it says itself."""

    key: str
    partition: str
    bucket: str
    object_key: str
    sha256: str
    writer: str | None
    sequence: int | None
    outcome: str
    fingerprint: tuple[int, ...]
    """A hash of each of ``Rules.attributes``; empty where items are not compared so closely."""


class Seen(NamedTuple):
    """An object that was read: what it really is."""

    sha256: str
    size: int
    place: Place | None = None
    """What its document says of itself."""
    fingerprint: tuple[int, ...] = ()
    """Of the item that ingestion would make of it."""
    problem: str | None = None
    """Why it is no audit document, where it is none."""


@dataclass(frozen=True, slots=True)
class Call:
    """All that is known of the calls of one key. ``indexed`` has one entry, unless something is wrong."""

    key: str
    ledgered: tuple[Ledgered, ...] = ()
    stored: Stored | None = None
    indexed: tuple[Indexed, ...] = ()


class Kind(StrEnum):
    """What can be wrong with a call."""

    OBJECT_MISSING = "object-missing"
    OBJECT_CHANGED = "object-changed"
    OBJECT_UNREADABLE = "object-unreadable"
    DIGESTS_DISAGREE = "digests-disagree"
    ITEM_MISSING = "item-missing"
    ITEM_DIFFERS = "item-differs"
    ITEM_TWICE = "item-twice"
    ITEM_WITHOUT_OBJECT = "item-without-object"
    SEQUENCE_GAP = "sequence-gap"
    NOT_STORED = "not-stored"
    NOT_ENDED = "not-ended"
    JOURNAL_UNREADABLE = "journal-unreadable"


_RESTORE = "bring it back from a backup or from the bucket's versions (`llm-audit replay FILE` stores a saved document)"
_SHIP = "see that `llm-audit serve` runs with this journal and that `llm-audit doctor` finds the store well"

TO_DO = {
    Kind.OBJECT_MISSING: f"{_RESTORE}, and find out who removed it",
    Kind.OBJECT_CHANGED: "keep it as evidence, compare it with a backup or with the bucket's versions, and find out "
    "who changed it; it is never indexed again from here",
    Kind.OBJECT_UNREADABLE: f"it is no record any more: {_RESTORE}",
    Kind.DIGESTS_DISAGREE: "object or item was changed, and no ledger here says which: compare with a backup, or run "
    "this beside the journal; if the object is right, `llm-audit reindex` writes the item anew",
    Kind.ITEM_MISSING: "`llm-audit reconcile --repair` indexes it again",
    Kind.ITEM_DIFFERS: "`llm-audit reconcile --repair` indexes it again",
    Kind.ITEM_TWICE: "`llm-audit reindex` removes the one that no object stands for",
    Kind.ITEM_WITHOUT_OBJECT: f"{_RESTORE}; if it was removed on purpose, `llm-audit reindex` drops the item",
    Kind.SEQUENCE_GAP: "nothing but its neighbours tells of it: look for it in backups and in the quarantine folder, "
    "and find out who removed it everywhere",
    Kind.NOT_STORED: _SHIP,
    Kind.NOT_ENDED: f"its writer is gone and nobody has closed it: {_SHIP}; a journal saved from another machine "
    "goes to `llm-audit replay FOLDER`",
    Kind.JOURNAL_UNREADABLE: "let this user read it, or use the llm-audit that wrote it",
}
"""What to do about each kind."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. ``subject`` names the call: its object's key, or its place in a journal."""

    kind: Kind
    subject: str
    detail: str
    calls: int = 1
    """How many calls it speaks of."""
    repair: bool = False
    """True where indexing the object again mends it."""

    def as_dict(self) -> dict[str, Any]:
        """Give it for a JSON line."""
        return {
            "finding": self.kind.value,
            "subject": self.subject,
            "detail": self.detail,
            "calls": self.calls,
            "toDo": TO_DO[self.kind],
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """Where a call stands: with neither a finding nor ``under_way``, it is indexed."""

    recorded: bool
    finding: Finding | None = None
    under_way: bool = False
    refused: bool = False


@dataclass(slots=True)
class Figures:
    """The count of a comparison: ``accepted`` = ``indexed`` + ``under_way`` + ``unexplained``."""

    accepted: int = 0
    """Calls that anything speaks of: journal, ledger, store, index, or a gap in a sequence. Refusals included."""
    recorded: int = 0
    """Their records lie in the store, as they were stored."""
    indexed: int = 0
    """Their items are in the index, and right."""
    under_way: int = 0
    """In flight, waiting to be stored or indexed, and younger than the grace period."""
    unexplained: int = 0
    """Calls with a finding."""
    refusals: int = 0
    """Records of refused calls, among the accepted."""
    unaudited: int = 0
    """Calls that ``AUDIT_WHEN_FULL=pass`` let through unrecorded, ever, by the journals here; never among the accepted."""
    unaudited_untold: int = 0
    """Of those: no record speaks of them yet."""
    refusals_counted: int = 0
    """Refusals beyond a hundred a second, which get no record of their own, ever, by the journals here."""
    refusals_counted_untold: int = 0
    counted_only: int = 0
    """Calls of either kind of which the records that were read tell as a count."""
    read: int = 0
    """Objects that were read and hashed."""
    other_objects: int = 0
    elsewhere: int = 0
    """Items and ledger rows of other prefixes, which were not compared."""
    repaired: int = 0
    """Objects that were indexed again."""
    kinds: dict[Kind, int] = field(default_factory=dict)
    """Calls by what is wrong with them."""

    def add(self, verdict: Verdict) -> None:
        """Count one call."""
        self.accepted += 1
        self.recorded += verdict.recorded
        self.refusals += verdict.refused
        if verdict.finding is not None:
            self._found(verdict.finding)
        elif verdict.under_way:
            self.under_way += 1
        else:
            self.indexed += 1

    def add_finding(self, finding: Finding) -> None:
        """Count calls that nothing but this finding speaks of."""
        self.accepted += finding.calls
        self._found(finding)

    def add_under_way(self, calls: int) -> None:
        """Count calls that are nowhere but in a journal, and not late."""
        self.accepted += calls
        self.under_way += calls

    def _found(self, finding: Finding) -> None:
        self.unexplained += finding.calls
        self.kinds[finding.kind] = self.kinds.get(finding.kind, 0) + finding.calls

    @property
    def is_clean(self) -> bool:
        """True where there is no finding."""
        return not self.kinds

    def as_dict(self) -> dict[str, Any]:
        """Give it with the names of JSON lines."""
        return {_camel(name): value for name, value in asdict(self).items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a call is judged by: the time, the grace period (both milliseconds) and the store's name in items."""

    now_ms: int
    grace_ms: int
    bucket: str
    attributes: tuple[str, ...] = ()
    """The names of what fingerprints are made of."""

    def is_young(self, since_ms: int) -> bool:
        """Tell whether what happened then may still be on its way; also what came after the comparison began."""
        return since_ms > self.now_ms - self.grace_ms


def joined(
    ledgered: Iterable[Ledgered], stored: Iterable[Stored], indexed: Iterable[Indexed]
) -> Iterator[Call]:
    """Join three sources, each sorted by key, call by call."""
    first = itemgetter(0)
    rows: Iterator[Ledgered | Stored | Indexed] = heapq.merge(ledgered, stored, indexed, key=first)
    for key, facts in groupby(rows, key=first):
        yield _call(key, facts)


def _call(key: str, facts: Iterable[Ledgered | Stored | Indexed]) -> Call:
    rows: list[Ledgered] = []
    stored = None
    items: dict[str, Indexed] = {}  # an index that is written to meanwhile may give one item twice
    for fact in facts:
        match fact:
            case Ledgered():
                rows.append(fact)
            case Stored():
                stored = fact
            case Indexed():
                items[fact.partition] = fact
    return Call(key, tuple(rows), stored, tuple(items.values()))


def is_record(call: Call) -> bool:
    """Tell whether this is a call at all, or just some other object."""
    return bool(call.ledgered or call.indexed) or (call.stored is not None and call.stored.is_named_as_record)


def needs_reading(call: Call, *, will_repair: bool) -> bool:
    """Tell whether the object must be read to say who is right; or before it is indexed, if the ledger can tell."""
    if call.stored is None:
        return False
    return (
        any(row.size != call.stored.size for row in call.ledgered)
        or len({row.sha256 for row in call.ledgered} | {item.sha256 for item in call.indexed}) > 1
        or (will_repair and bool(call.ledgered) and not call.indexed)
    )


def judge(call: Call, seen: Seen | None, rules: Rules) -> Verdict:
    """Say where a call stands. ``seen`` is its object, where that was read."""
    refused = any(item.outcome == Outcome.REJECTED for item in call.indexed)
    wrong = _object_finding(call, seen)
    if wrong is not None:
        return Verdict(recorded=wrong.kind is Kind.DIGESTS_DISAGREE, finding=wrong, refused=refused)
    assert call.stored is not None
    if not call.indexed and rules.is_young(call.stored.modified_ms):
        return Verdict(recorded=True, under_way=True)
    return Verdict(recorded=True, finding=_item_finding(call, seen, rules), refused=refused)


def _object_finding(call: Call, seen: Seen | None) -> Finding | None:
    """Say what is wrong with the object, if it is that."""
    if call.stored is None:
        return _absence(call)
    return None if seen is None else _change(call, seen)


def _absence(call: Call) -> Finding:
    if not call.ledgered:
        return Finding(Kind.ITEM_WITHOUT_OBJECT, call.key, "there is an item, and no object")
    item = "an" if call.indexed else "no"
    return Finding(
        Kind.OBJECT_MISSING,
        call.key,
        f"the ledger says that it was stored ({_place(call.ledgered[0])}); there is no object, and {item} item",
    )


def _change(call: Call, seen: Seen) -> Finding | None:
    for row in call.ledgered:
        if row.sha256 != seen.sha256:
            return Finding(
                Kind.OBJECT_CHANGED,
                call.key,
                f"its sha256 is {seen.sha256} ({seen.size} bytes); the ledger stored {row.sha256} ({row.size} bytes)",
            )
    if seen.problem is not None:
        return Finding(Kind.OBJECT_UNREADABLE, call.key, seen.problem)
    if not call.ledgered and len(call.indexed) == 1 and call.indexed[0].sha256 != seen.sha256:
        return Finding(
            Kind.DIGESTS_DISAGREE,
            call.key,
            f"the object's sha256 is {seen.sha256}, the item's {call.indexed[0].sha256}",
        )
    return None


def _item_finding(call: Call, seen: Seen | None, rules: Rules) -> Finding | None:
    """Say what is wrong with the item; the object is as it was stored."""
    if not call.indexed:
        return Finding(Kind.ITEM_MISSING, call.key, "there is an object, and no item", repair=True)
    if len(call.indexed) > 1:
        partitions = ", ".join(sorted(item.partition for item in call.indexed))
        return Finding(Kind.ITEM_TWICE, call.key, f"there are {len(call.indexed)} items: {partitions}")
    different = _differences(call, call.indexed[0], seen, rules)
    if not different:
        return None
    return Finding(Kind.ITEM_DIFFERS, call.key, f"the item is another in {', '.join(different)}", repair=True)


def _differences(call: Call, item: Indexed, seen: Seen | None, rules: Rules) -> list[str]:
    """Name what is different in an item from what it should be."""
    sha256 = seen.sha256 if seen else call.ledgered[0].sha256 if call.ledgered else item.sha256
    writer, sequence = item.writer, item.sequence
    if seen is not None and seen.place is not None:
        writer, sequence = seen.place.writer, seen.place.sequence
    elif call.ledgered:
        writer, sequence = call.ledgered[0].writer, call.ledgered[0].sequence
    pairs = {
        "auditObjectSha256": (item.sha256, sha256),
        "auditObjectKey": (item.object_key, call.key),
        "auditBucket": (item.bucket, rules.bucket),
        "writerId": (item.writer, writer),
        "sequence": (item.sequence, sequence),
    }
    different = [name for name, (is_there, should_be) in pairs.items() if is_there != should_be]
    if seen is not None and seen.fingerprint and item.fingerprint:
        pairs_of_hashes = zip(rules.attributes, seen.fingerprint, item.fingerprint, strict=True)
        different += [
            name for name, ours, theirs in pairs_of_hashes if ours != theirs and name not in different
        ]
    return different


def _place(row: Ledgered) -> str:
    return f"writer {row.writer}, boot {row.boot}, sequence {row.sequence}"
