"""One digest and the objects that it lists: are they what was signed? Pure; the objects are read by the caller.

What can only be judged with the digests before and after goes into ``Checked`` for ``chains``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import NamedTuple

import orjson

from llm_audit.integrity.canonical import canonical
from llm_audit.integrity.digests import (
    Digest,
    DigestName,
    DigestUnreadableError,
    Entry,
    Head,
    Place,
    parse_digest_key,
    read_digest,
)
from llm_audit.integrity.findings import Finding, Kind, Range
from llm_audit.integrity.signatures import PublicKey
from llm_audit.record.times import iso_from_ms

_BEGINS = b'{"schemaVersion":'
_WRITER = b',"writer":{'


EntryRow = tuple[str, str, int, int, str]
"""Of an entry: key, writer, boot, sequence, sha256. A plain tuple, for there may be millions."""


class Linked(NamedTuple):
    """What a record says of its place in the chain."""

    writer: str
    boot: int
    sequence: int
    previous_sha256: str | None

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self.boot, self.sequence


class Seen(NamedTuple):
    """What lies under a key: bytes (of one larger than listed, more than listed), digest, and what it says of itself."""

    size: int
    sha256: str
    linked: Linked | None
    """None where it is no record."""


class Link(NamedTuple):
    """A record whose predecessor stands in another digest, or in none."""

    place: Place
    previous_sha256: str | None
    key: str
    to_ms: int
    """When its digest ended."""


class Checked(NamedTuple):
    """What there is to know of one digest."""

    key: str
    name: DigestName
    sha256: str
    """Of the file."""
    head: Head | None
    """None where the digest cannot be used."""
    key_id: str | None
    """Which key signed it; None where none of those that are known did."""
    findings: list[Finding]
    late: list[Entry]
    holes: list[tuple[int, int]]
    """Sequences of the range, first to last, that have no entry."""
    heads: list[Link]
    tails: list[tuple[Place, str]]
    """Records whose successor stands elsewhere, with their digests."""
    keys: list[EntryRow]
    """Of every entry; sorted."""
    intact: int
    """Objects that are what was listed."""
    bytes_read: int


def read_link(data: bytes) -> Linked | None:
    """Read what a record says of its place; None where it is no record.

    Inside a JSON string every quote is escaped, so no text of a caller's can look like the member that is sought.
    """
    if not data.startswith(_BEGINS):
        return None
    start = data.find(_WRITER)
    end = data.find(b"}", start)
    if start < 0 or end < 0:
        return None
    try:
        writer = orjson.loads(data[start + len(_WRITER) - 1 : end + 1])
        name, boot, sequence = writer["id"], writer["boot"], writer["sequence"]
        previous = writer["previousSha256"]
    except (orjson.JSONDecodeError, KeyError):
        return None
    if type(name) is not str or type(boot) is not int or type(sequence) is not int:
        return None
    return Linked(name, boot, sequence, previous) if previous is None or type(previous) is str else None


def seen(data: bytes) -> Seen:
    """Give what bytes are."""
    return Seen(len(data), sha256(data).hexdigest(), read_link(data))


def open_digest(
    key: str, data: bytes, keys: Mapping[str, PublicKey]
) -> tuple[Digest | None, str | None, list[Finding]]:
    """Read a digest file and check what it says of itself; give it, where it can be used, and who signed it."""
    name = parse_digest_key(key)
    assert name is not None, key
    whose = Range(name.writer)
    try:
        digest = read_digest(data)
    except DigestUnreadableError as error:
        return None, None, [Finding(Kind.UNREADABLE, key, str(error), whose)]
    head = digest.head
    says = DigestName(head.writer, iso_from_ms(head.to_ms)[:10].replace("-", "/"), head.number)
    if says != name:
        detail = (
            f"this is digest {says.number} of {says.writer}, of {says.day}, and stands in another's place"
        )
        return None, None, [Finding(Kind.REORDERED, key, detail, whose)]
    findings = []
    key_id = None
    signer = keys.get(digest.signature.key_id)
    if signer is None:
        detail = f"it is signed by key {digest.signature.key_id}, which is none of those given"
        findings.append(Finding(Kind.UNKNOWN_KEY, key, detail, affected(head)))
    elif not signer.has_signed(canonical(head.document()), digest.signature):
        detail = f"its head is not what key {signer.id} signed"
        findings.append(Finding(Kind.BAD_SIGNATURE, key, detail, affected(head)))
    else:
        key_id = signer.id
    findings += (Finding(kind, key, detail, affected(head)) for kind, detail in _entry_problems(digest))
    return digest, key_id, findings


def affected(head: Head) -> Range:
    """Give the records that a digest newly lists."""
    if head.boot is None or head.first is None or head.last is None:
        return Range(head.writer)
    return Range(head.writer, (head.boot, head.first), (head.boot, head.last))


def _entry_problems(digest: Digest) -> Iterable[tuple[Kind, str]]:
    """Say what is wrong with a digest's entries among themselves."""
    head, entries = digest.head, digest.entries
    if len(entries) != head.entries or digest.tree_root != head.root_sha256:
        yield Kind.MODIFIED, "its entries are not those that its head signs (Merkle root)"
    keys = [entry.key for entry in entries]
    if len(set(keys)) < len(keys):
        yield Kind.DUPLICATED, "an object is listed twice"
    elif keys != sorted(keys):
        yield Kind.REORDERED, "its entries are not in order"
    places = [entry.place for entry in entries]
    if len(set(places)) < len(places):
        yield Kind.DUPLICATED, "a place is listed twice"
    new = [place for place in places if _is_new(head, place)]
    begins = (head.boot, head.first)
    is_sound = (
        head.late == len(places) - len(new)
        and (max(new, default=None) == (None if head.boot is None else (head.boot, head.last)))
        and (head.boot is None or all(place < begins for place in places if not _is_new(head, place)))
    )
    if not is_sound:
        yield Kind.REORDERED, "its entries are not the places that its head claims"


def _is_new(head: Head, place: Place) -> bool:
    return (
        head.first is not None
        and head.last is not None
        and place[0] == head.boot
        and head.first <= place[1] <= head.last
    )


def check_objects(
    key: str, digest: Digest, key_id: str | None, found: Iterable[Seen | None], findings: list[Finding]
) -> Checked:
    """Compare what lies in the store with what a digest lists; ``found`` is in the order of its entries."""
    head = digest.head
    writer = head.writer
    by_sha = {entry.sha256: entry.key for entry in digest.entries}
    by_place = {(entry.boot, entry.sequence): entry.sha256 for entry in digest.entries}
    heads, tails, rows, late = [], [], [], []
    intact = bytes_read = 0
    for entry, one in zip(digest.entries, found, strict=True):
        boot, key_of, sequence, sha, size = entry
        rows.append((key_of, writer, boot, sequence, sha))
        if not _is_new(head, (boot, sequence)):
            late.append(entry)
        if (boot, sequence + 1) not in by_place:
            tails.append(((boot, sequence), sha))
        if one is not None:
            bytes_read += one.size
            is_intact = one.sha256 == sha and one.size == size
            if is_intact and one.linked is not None and one.linked[:3] == (writer, boot, sequence):
                intact += 1
                before = by_place.get((boot, sequence - 1))
                if before is None:
                    heads.append(Link((boot, sequence), one.linked.previous_sha256, key_of, head.to_ms))
                elif before != one.linked.previous_sha256:
                    findings.append(
                        link_finding(
                            writer, key_of, (boot, sequence - 1), (boot, sequence), one.linked.previous_sha256
                        )
                    )
                continue
        findings.append(_finding(writer, entry, one, by_sha))
    return Checked(
        key=key,
        name=DigestName(writer, "", head.number),
        sha256=digest.sha256,
        head=head,
        key_id=key_id,
        findings=findings,
        late=late,
        holes=_holes(head, by_place),
        heads=heads,
        tails=tails,
        keys=rows,
        intact=intact,
        bytes_read=bytes_read,
    )


def unusable(key: str, data: bytes, findings: list[Finding]) -> Checked:
    """Give what there is to know of a digest that cannot be used."""
    name = parse_digest_key(key)
    assert name is not None, key
    return Checked(key, name, sha256(data).hexdigest(), None, None, findings, [], [], [], [], [], 0, 0)


def _finding(writer: str, entry: Entry, one: Seen | None, by_sha: Mapping[str, str]) -> Finding:
    """Say what is wrong with an object that is not what its entry says."""
    kind, detail = _wrong(entry, one, by_sha)
    return Finding(kind, entry.key, detail, Range(writer, entry.place, entry.place))


def _wrong(entry: Entry, one: Seen | None, by_sha: Mapping[str, str]) -> tuple[Kind, str]:
    if one is None:
        return Kind.MISSING, "it is listed, and not there"
    if one.sha256 != entry.sha256 and one.sha256 in by_sha:
        return Kind.REORDERED, f"these are the bytes of {by_sha[one.sha256]}"
    if one.size < entry.size:
        return Kind.TRUNCATED, f"it has {one.size} bytes of the {entry.size} listed"
    if one.sha256 != entry.sha256 or one.size != entry.size:
        return (
            Kind.MODIFIED,
            f"its sha256 is {one.sha256} ({one.size} bytes), listed is {entry.sha256} ({entry.size})",
        )
    if one.linked is None:
        return Kind.UNREADABLE, "it is as listed, and no record"
    return (
        Kind.REORDERED,
        f"it says {one.linked.writer}, boot {one.linked.boot}, sequence {one.linked.sequence}",
    )


def link_finding(writer: str, key: str, before: Place, place: Place, says: str | None) -> Finding:
    """Say that a record does not follow the one before."""
    return Finding(
        Kind.CHAIN_GAP,
        key,
        f"it says that the record before has sha256 {says}; that is not the one listed there",
        Range(writer, before, place),
    )


def _holes(head: Head, places: Iterable[Place]) -> list[tuple[int, int]]:
    if head.boot is None or head.first is None or head.last is None:
        return []
    holes = []
    expected = head.first
    for boot, sequence in sorted(places):
        if boot != head.boot or not head.first <= sequence <= head.last:
            continue
        if sequence > expected:
            holes.append((expected, sequence - 1))
        expected = sequence + 1
    if expected <= head.last:
        holes.append((expected, head.last))
    return holes
