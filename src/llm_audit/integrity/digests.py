"""Digest files: what a writer has stored, hour by hour, in a form that a third party can check. Pure.

A digest has a *head*, which is signed, and *entries*, one for each record that was stored since the digest before.
The head holds the Merkle root over the entries, so the signature covers them; and being small it can be signed by
AWS KMS (4,096 bytes at most) and stand in a receipt by itself. Heads are chained: each names the SHA-256 of the whole file
before, numbers are gapless from 0, and each period begins where the one before ended. The whole file is
canonical JSON. The format is specified in docs/evidence.md; ``verifier/verify.py`` reads it without this module.

The head claims sequences ``first`` to ``last`` of one boot, going on where the digest before stopped. Sequences of that range
without an entry were not stored yet; they come in a later digest as *late* entries, whose places lie before its range.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from llm_audit.integrity.canonical import INTEGER_LIMIT, canonical
from llm_audit.integrity.merkle import leaf_hash, root
from llm_audit.integrity.signatures import Signature, read_signature
from llm_audit.record.times import iso_from_ms, ms_from_iso

TYPE = "llm-audit-digest/1"
PREFIX = "digests"
"""What digests' keys begin with: never what records' keys begin with, for those trigger the ingestion."""
MOST_ENTRIES = 10_000
"""Entries in one digest; with more to list, there are more digests. So nobody ever needs more memory than for so many."""

REASONS = ("start", "interval", "full", "stop", "recovered")
"""Why a digest was written: the shipper started, its time had come, there were enough entries, the shipper stopped; or
the shipper lost its ledger and went on from the last digest in the store, perhaps listing again what was listed."""

_KEY = re.compile(
    rf"{PREFIX}/(?P<writer>w-[0-9a-f]{{8}})/(?P<day>\d{{4}}/\d\d/\d\d)/(?P<number>\d{{12}})\.json", re.ASCII
)
_HEX = "0123456789abcdef"

Place = tuple[int, int]
"""Boot and sequence."""


class DigestUnreadableError(ValueError):
    """A file that is no digest as this version knows them; the message says why."""


class Entry(NamedTuple):
    """One record that was stored. In the order of its JSON members."""

    boot: int
    key: str
    sequence: int
    sha256: str
    size: int

    @property
    def place(self) -> Place:
        """Where in its writer's chain it stands."""
        return self.boot, self.sequence


class Head(NamedTuple):
    """What is signed. Times are milliseconds since the epoch; their JSON form is ISO 8601."""

    writer: str
    number: int
    previous_sha256: str | None
    """Of the whole file before; None in the first."""
    from_ms: int
    to_ms: int
    clock_behind_ms: int
    """How far the clock stood before ``from`` when this was written, having been set back; else 0."""
    reason: str
    boot: int | None
    first: int | None
    last: int | None
    """The range; all three None where nothing new was stored."""
    entries: int
    late: int
    root_sha256: str
    made_by: str

    def document(self) -> dict[str, str | int | None]:
        """Give it with the names of its JSON form."""
        return {
            "boot": self.boot,
            "clockBehindMs": self.clock_behind_ms,
            "entries": self.entries,
            "first": self.first,
            "from": iso_from_ms(self.from_ms),
            "last": self.last,
            "late": self.late,
            "madeBy": self.made_by,
            "number": self.number,
            "previousSha256": self.previous_sha256,
            "reason": self.reason,
            "rootSha256": self.root_sha256,
            "to": iso_from_ms(self.to_ms),
            "type": TYPE,
            "writer": self.writer,
        }


class Digest(NamedTuple):
    """One digest file, read."""

    head: Head
    signature: Signature
    entries: list[Entry]
    sha256: str
    """Of the whole file."""
    tree_root: str
    """Of the entries as they are; the head says what it should be."""


class DigestName(NamedTuple):
    """What a digest's key says: its writer, the UTC day of its end as ``YYYY/MM/DD``, and its number."""

    writer: str
    day: str
    number: int


class ChainEnd(NamedTuple):
    """Where a writer's digests have come to: the last one, and the last place that any range covered."""

    number: int
    sha256: str
    to_ms: int
    place: Place | None


class Made(NamedTuple):
    """A digest that was made: its key, the file's bytes, and the chain's end with it."""

    key: str
    data: bytes
    end: ChainEnd


Sign = Callable[[bytes], Signature]


def entry_bytes(entry: Entry) -> bytes:
    """Give an entry's canonical form, which is also its leaf in the tree."""
    boot, key, sequence, digest, size = entry
    # Written in the canonical order, so there is nothing to sort.
    return orjson.dumps({"boot": boot, "key": key, "sequence": sequence, "sha256": digest, "size": size})


def tree_root(leaves: Iterable[bytes]) -> str:
    """Give the Merkle root over entries in canonical form, as hex."""
    return root([leaf_hash(leaf) for leaf in leaves]).hex()


def digest_key(writer: str, number: int, to_ms: int) -> str:
    """Give the key of a digest: by writer, day of its end (UTC) and number, so that a listing has them in order."""
    return f"{PREFIX}/{writer}/{iso_from_ms(to_ms)[:10].replace('-', '/')}/{number:012d}.json"


def parse_digest_key(key: str) -> DigestName | None:
    """Read a key back; None where it is no digest's."""
    match = _KEY.fullmatch(key)
    return None if match is None else DigestName(match["writer"], match["day"], int(match["number"]))


class _Part(NamedTuple):
    boot: int | None
    first: int | None
    last: int | None
    entries: list[Entry]
    late: int


def make_digests(
    writer: str,
    before: ChainEnd | None,
    entries: Sequence[Entry],
    *,
    now_ms: int,
    reason: str,
    made_by: str,
    sign: Sign,
    place: Place | None = None,
) -> list[Made]:
    """Make the digests that list these entries, one for each boot; one without entries where there are none.

    ``before`` is None for a writer's first; ``place`` then says up to where nothing will be listed.
    """
    end = before
    reached = place if end is None else end.place
    made = []
    for part in _parts(reached, entries):
        if part.boot is not None and part.last is not None:
            reached = part.boot, part.last
        one = _make(writer, end, part, now_ms, reason, made_by, sign, reached)
        made.append(one)
        end = one.end
    return made


def _parts(place: Place | None, entries: Sequence[Entry]) -> list[_Part]:
    """Split entries by boot; those that come late go with the first part."""
    late: list[Entry] = []
    by_boot: dict[int, list[Entry]] = {}
    for entry in entries:  # many: the members are taken without names
        if place is not None and (entry[0], entry[2]) <= place:
            late.append(entry)
        elif entry[0] in by_boot:
            by_boot[entry[0]].append(entry)
        else:
            by_boot[entry[0]] = [entry]
    parts = []
    for boot in sorted(by_boot):
        new = by_boot[boot]
        first = place[1] + 1 if place is not None and place[0] == boot else 0
        parts.append(_Part(boot, first, max([entry[2] for entry in new]), late + new, len(late)))
        late = []
    return parts or [_Part(None, None, None, late, len(late))]


def _make(
    writer: str,
    before: ChainEnd | None,
    part: _Part,
    now_ms: int,
    reason: str,
    made_by: str,
    sign: Sign,
    reached: Place | None,
) -> Made:
    leaves = [entry_bytes(entry) for entry in sorted(part.entries, key=itemgetter(1))]
    from_ms = now_ms if before is None else before.to_ms
    head = Head(
        writer=writer,
        number=0 if before is None else before.number + 1,
        previous_sha256=None if before is None else before.sha256,
        from_ms=from_ms,
        to_ms=max(now_ms, from_ms),
        clock_behind_ms=max(0, from_ms - now_ms),
        reason=reason,
        boot=part.boot,
        first=part.first,
        last=part.last,
        entries=len(leaves),
        late=part.late,
        root_sha256=tree_root(leaves),
        made_by=made_by,
    )
    signed = canonical(head.document())
    data = _file(leaves, signed, canonical(sign(signed).document()))
    end = ChainEnd(head.number, sha256(data).hexdigest(), head.to_ms, reached)
    return Made(digest_key(writer, head.number, head.to_ms), data, end)


def _file(leaves: list[bytes], head: bytes, signature: bytes) -> bytes:
    return b'{"entries":[%b],"head":%b,"signature":%b}' % (b",".join(leaves), head, signature)


def read_digest(data: bytes) -> Digest:
    """Read a digest file. Raises DigestUnreadableError. Says nothing of signature and root: see ``audit``."""
    try:
        document = orjson.loads(data)
    except (ValueError, RecursionError):
        raise DigestUnreadableError("it is no JSON") from None
    if not isinstance(document, dict) or document.keys() != {"entries", "head", "signature"}:
        raise DigestUnreadableError("it is no digest: expected entries, head and signature")
    head = read_head(document["head"])
    try:
        signature = read_signature(document["signature"])
    except ValueError as error:
        raise DigestUnreadableError(str(error)) from None
    entries = _entries(document["entries"])
    leaves = [entry_bytes(entry) for entry in entries]
    if _file(leaves, canonical(head.document()), canonical(signature.document())) != data:
        raise DigestUnreadableError("it is not in the canonical form (RFC 8785)")
    return Digest(head, signature, entries, sha256(data).hexdigest(), tree_root(leaves))


def _entries(value: Any) -> list[Entry]:
    if not isinstance(value, list):
        raise DigestUnreadableError("its entries are no list")
    try:
        return [read_entry(one) for one in value]
    except (KeyError, TypeError):
        raise DigestUnreadableError("an entry is none") from None


def read_entry(value: dict[str, Any]) -> Entry:
    """Read an entry's JSON form. Raises DigestUnreadableError, KeyError, TypeError."""
    boot, key, sequence, digest, size = (
        value["boot"],
        value["key"],
        value["sequence"],
        value["sha256"],
        value["size"],
    )
    if (
        len(value) != 5
        or type(key) is not str
        or not (_is_count(boot) and _is_count(sequence) and _is_count(size))
        or not _is_hash(digest)
    ):
        raise DigestUnreadableError("an entry is none: expected boot, key, sequence, sha256 and size")
    return Entry(boot, key, sequence, digest, size)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < INTEGER_LIMIT


def _is_hash(value: Any) -> bool:
    return type(value) is str and len(value) == 64 and not value.strip(_HEX)


def read_head(value: Any) -> Head:
    """Read a head's JSON form. Raises DigestUnreadableError."""
    if not isinstance(value, dict) or value.get("type") != TYPE:
        came = value.get("type") if isinstance(value, dict) else None
        raise DigestUnreadableError(
            f"its head is of type {came!r}, this version knows {TYPE!r}: a newer llm-audit may read it"
        )
    try:
        head = Head(
            writer=value["writer"],
            number=value["number"],
            previous_sha256=value["previousSha256"],
            from_ms=ms_from_iso(value["from"]),
            to_ms=ms_from_iso(value["to"]),
            clock_behind_ms=value["clockBehindMs"],
            reason=value["reason"],
            boot=value["boot"],
            first=value["first"],
            last=value["last"],
            entries=value["entries"],
            late=value["late"],
            root_sha256=value["rootSha256"],
            made_by=value["madeBy"],
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DigestUnreadableError("its head lacks a member, or a time in it is none") from None
    if not _is_head(head) or head.document() != value:
        raise DigestUnreadableError("its head has a member that is not what it should be")
    return head


def _is_head(head: Head) -> bool:
    span = (head.boot, head.first, head.last)
    return (
        all(type(text) is str for text in (head.writer, head.reason, head.made_by))
        and all(map(_is_count, (head.number, head.clock_behind_ms, head.entries, head.late)))
        and (head.previous_sha256 is None or _is_hash(head.previous_sha256))
        and _is_hash(head.root_sha256)
        and (span == (None, None, None) or all(map(_is_count, span)))
        and (head.first is None or head.last is None or head.first <= head.last)
    )
