#!/usr/bin/env python3
"""Check the records of Central LLM Audit against their signed digests. One file; needs Python 3.11 and `cryptography`.

    python verify.py FOLDER --key PUBLIC.pem [--key …] [--prefix logs] [--pin WRITER:NUMBER:SHA256] [--json]
    python verify.py --receipt RECEIPT.json --key PUBLIC.pem [--object RECORD.json]

FOLDER holds the bucket's objects under their keys (`aws s3 sync s3://BUCKET FOLDER`). Public keys come from the
audited party once, by a way that it does not control afterwards. Exit code 0: nothing was found. 1: findings, one a
line. 2: wrong usage.

This program shares no code with the product, so that it can be read, and believed, by itself; it follows the
specification in docs/evidence.md. From top to bottom: bytes and trees; one digest; the objects that it lists; one
writer's chain; what no digest lists. All is kept in memory, some kilobyte a record; `llm-audit verify` needs no more
for more records.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import sys
from bisect import bisect_left
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

DIGEST_NAME = re.compile(r"digests/(w-[0-9a-f]{8})/(\d{4}/\d\d/\d\d)/(\d{12})\.json", re.ASCII)
RECORD_NAME = re.compile(r"(.+)/\d{4}/\d\d/\d\d/[^/]+", re.ASCII)
GRACE_MS = 3_600_000  # a record that a digest counts may be listed so much later

Place = tuple[int, int]  # boot and sequence: where a record stands in its writer's chain
found: list[dict] = []
counts: Counter[str] = Counter()


def report(kind, about, detail, writer=None, first=None, last=None) -> None:
    """Note a finding: its kind, the object that shows it, and the affected records' first and last place."""
    names = ("finding", "object", "detail", "writer", "first", "last")
    found.append(dict(zip(names, (kind, about, detail, writer, first, last), strict=True)))


# --- Bytes and trees -------------------------------------------------------------------------------------------------


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def canonical(value) -> bytes:
    """RFC 8785, for values without fractions whose members have ASCII names."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def leaf(entry: dict) -> bytes:
    """RFC 9162, section 2.1.1."""
    return hashlib.sha256(b"\x00" + canonical(entry)).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def tree(leaves: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.1: the root; a list splits at the largest power of two below its length."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node(tree(leaves[:split]), tree(leaves[split:]))


def climb(hashed: bytes, fn: int, size: int, path: list[bytes]) -> bytes | None:
    """RFC 9162, section 2.1.3.2: the root to which an inclusion proof of leaf number fn leads."""
    sn = size - 1
    for other in path:
        if sn == 0:
            return None
        if fn % 2 == 1 or fn == sn:
            hashed = node(other, hashed)
            while fn % 2 == 0 and fn != 0:
                fn, sn = fn // 2, sn // 2
        else:
            hashed = node(hashed, other)
        fn, sn = fn // 2, sn // 2
    return hashed if sn == 0 else None


def read_keys(paths: list[str]) -> dict:
    """Public keys by their id, the SHA-256 of the SubjectPublicKeyInfo."""
    keys = [serialization.load_pem_public_key(Path(path).read_bytes()) for path in paths]
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return {sha256(key.public_bytes(*form)): key for key in keys}


def has_signed(key, signature: dict, data: bytes) -> bool:
    value = base64.b64decode(signature["value"])
    try:
        if signature["algorithm"] == "Ed25519" and isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(value, data)
        elif signature["algorithm"] == "ECDSA_P256_SHA256" and isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(value, data, ec.ECDSA(hashes.SHA256()))
        else:
            return False
    except InvalidSignature:
        return False
    return True


# --- One digest ------------------------------------------------------------------------------------------------------


def is_count(value) -> bool:
    return type(value) is int and 0 <= value < 2**53


def is_text(value) -> bool:
    return type(value) is str


def is_sha256(value) -> bool:
    return is_text(value) and re.fullmatch("[0-9a-f]{64}", value) is not None


def is_base64(value) -> bool:
    try:
        return is_text(value) and base64.b64encode(base64.b64decode(value)).decode() == value
    except ValueError:
        return False


def is_time(value) -> bool:
    try:
        return (
            is_text(value) and len(value) == 24 and value[-1] == "Z" and bool(datetime.fromisoformat(value))
        )
    except ValueError:
        return False


def or_none(is_it):
    return lambda value: value is None or is_it(value)


def fits(value, members: dict) -> bool:
    """Tell whether a value has exactly these members, each as it should be."""
    if not isinstance(value, dict) or value.keys() != members.keys():
        return False
    return all(is_it(value[name]) for name, is_it in members.items())


HEAD = {
    "type": lambda value: value == "llm-audit-digest/1",
    **dict.fromkeys(("writer", "reason", "madeBy"), is_text),
    **dict.fromkeys(("from", "to"), is_time),
    **dict.fromkeys(("number", "entries", "late", "clockBehindMs"), is_count),
    **dict.fromkeys(("boot", "first", "last"), or_none(is_count)),
    "previousSha256": or_none(is_sha256),
    "rootSha256": is_sha256,
}
ENTRY = {"boot": is_count, "key": is_text, "sequence": is_count, "sha256": is_sha256, "size": is_count}
SIGNATURE = {"algorithm": is_text, "keyId": is_text, "value": is_base64}
WRITER = {"id": is_text, "boot": is_count, "sequence": is_count, "previousSha256": or_none(is_text)}


def is_head(head) -> bool:
    if not fits(head, HEAD):
        return False
    span = [head["boot"], head["first"], head["last"]]
    return span == [None] * 3 or (None not in span and head["first"] <= head["last"])


DIGEST = {
    "entries": lambda value: type(value) is list and all(fits(entry, ENTRY) for entry in value),
    "head": is_head,
    "signature": lambda value: fits(value, SIGNATURE),
}


def read_json(data: bytes, members: dict):
    """Give the value if it has these members and is in canonical form; else None."""
    try:
        value = json.loads(data)
        return value if canonical(value) == data and fits(value, members) else None
    except (ValueError, RecursionError):
        return None


def place(entry: dict) -> Place:
    return entry["boot"], entry["sequence"]


class Digest:
    """A digest file; ``head`` is None where it cannot be used."""

    def __init__(self, name: re.Match, data: bytes, keys: dict) -> None:
        self.key, self.writer, self.number, self.sha256 = name[0], name[1], int(name[3]), sha256(data)
        self.head, self.entries, self.signer = None, [], None
        self.first = self.last = None  # the range of places that it claims
        digest = read_json(data, DIGEST)
        if digest is None:
            self.report("unreadable", "it is no digest in canonical form")
            return
        head, signature = digest["head"], digest["signature"]
        if (head["writer"], head["to"][:10].replace("-", "/"), head["number"]) != (
            name[1],
            name[2],
            self.number,
        ):
            self.report("reordered", f"this is digest {head['number']} of {head['writer']}")
            return
        self.head, self.entries = head, digest["entries"]
        if head["boot"] is not None:
            self.first, self.last = (head["boot"], head["first"]), (head["boot"], head["last"])
        if signature["keyId"] not in keys:
            self.report("unknown-key", f"it is signed by key {signature['keyId']}, which was not given")
        elif not has_signed(keys[signature["keyId"]], signature, canonical(head)):
            self.report("bad-signature", "its head is not what the key signed")
        else:
            self.signer = signature["keyId"]
        self.check_entries()

    def report(self, kind: str, detail: str) -> None:
        report(kind, self.key, detail, self.writer, self.first, self.last)

    def is_new(self, at: Place) -> bool:
        """Tell whether a place is in the claimed range; an entry outside comes late."""
        return self.first is not None and self.first <= at <= self.last

    def check_entries(self) -> None:
        names, places = [e["key"] for e in self.entries], [place(e) for e in self.entries]
        root = tree([leaf(entry) for entry in self.entries]).hex()
        if (len(names), root) != (self.head["entries"], self.head["rootSha256"]):
            self.report("modified", "its entries are not those that its head signs")
        if len(set(names)) < len(names) or len(set(places)) < len(places):
            self.report("duplicated", "it lists an object or a place twice")
        if len(set(names)) == len(names) and names != sorted(names):
            self.report("reordered", "its entries are not in order")
        late = [at for at in places if not self.is_new(at)]
        ends_well = max((at for at in places if self.is_new(at)), default=None) == self.last
        begins_well = self.first is None or all(at < self.first for at in late)
        if len(late) != self.head["late"] or not ends_well or not begins_well:
            self.report("reordered", "its entries are not the places that its head claims")


# --- The objects that a digest lists ---------------------------------------------------------------------------------


def read_object(folder: Path, key: str) -> bytes | None:
    parts = key.split("/")
    try:
        return None if {"", ".", ".."} & {*parts} else folder.joinpath(*parts).read_bytes()
    except (OSError, ValueError):
        return None


def read_writer(data: bytes) -> dict | None:
    """Give what a record says of its place; None where it is no record."""
    try:
        writer = json.loads(data)["writer"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return writer if fits(writer, WRITER) else None


def check_object(digest: Digest, entry: dict, data: bytes | None, by_sha256: dict) -> dict | None:
    """Compare an object with its entry; give what it says of its place where it is intact."""
    writer, size, actual = None, -1, None
    if data is not None:
        writer, size, actual = read_writer(data), len(data), sha256(data)
    if data is None:
        wrong = "missing", "it is listed, and not there"
    elif actual != entry["sha256"] and actual in by_sha256:
        wrong = "reordered", f"these are the bytes of {by_sha256[actual]}"
    elif size < entry["size"]:
        wrong = "truncated", f"it has {size} bytes, listed are {entry['size']}"
    elif actual != entry["sha256"] or size != entry["size"]:
        wrong = "modified", f"its sha256 is {actual} ({size} bytes), listed is {entry['sha256']}"
    elif writer is None:
        wrong = "unreadable", "it is as listed, and no record"
    elif (writer["id"], *place(writer)) != (digest.writer, *place(entry)):
        wrong = "reordered", f"it says {writer['id']}, boot {writer['boot']}, sequence {writer['sequence']}"
    else:
        return writer
    report(wrong[0], entry["key"], wrong[1], digest.writer, place(entry), place(entry))
    return None


def check_objects(folder: Path, digest: Digest) -> dict[Place, str | None]:
    """Compare all objects; give which sha256 each intact record says the one before has."""
    by_sha256 = {entry["sha256"]: entry["key"] for entry in digest.entries}
    before = {}
    for entry in digest.entries:
        writer = check_object(digest, entry, read_object(folder, entry["key"]), by_sha256)
        if writer is not None:
            before[place(entry)] = writer["previousSha256"]
    return before


# --- One writer's chain ----------------------------------------------------------------------------------------------


class Chain:
    """A writer's digests in their order, and the records that they list."""

    def __init__(self, writer: str) -> None:
        self.writer = writer
        self.number, self.sha256, self.to = -1, None, ""  # of the digest before
        self.is_next = True  # the digest before is there, and can be used
        self.end: Place | None = None  # what the ranges have reached
        self.start: Place | None = None  # where they begin, if the first digests are there
        self.is_torn = False  # since the last range, a digest is missing or cannot be used
        self.torn: list[tuple[Place, Place]] = []  # between which places that was
        self.claims: list[
            tuple[int, int, int, Digest]
        ] = []  # boot, first and last sequence that a digest counts
        self.boot_last: dict[int, int] = {}  # the last sequence that is claimed of each boot
        self.records: dict[
            Place, tuple[str, str, str]
        ] = {}  # key, sha256, and the end of the digest's period
        self.before: dict[Place, str | None] = {}
        self.signer, self.replaced = None, set()
        self.open_ends: list[tuple[Place, Place]] = []
        self.unlisted: dict[Place, tuple[str, str, str | None]] = {}

    def report(self, kind: str, key: str, detail: str, first: Place | None, last: Place | None) -> None:
        report(kind, key, detail, self.writer, first, last)

    def add(self, digest: Digest, before: dict[Place, str | None]) -> bool:
        """Take the next digest; False where it does not count."""
        if digest.number <= self.number:
            if digest.head:
                kind = "duplicated" if digest.number == self.number else "reordered"
                digest.report(kind, f"there is another digest {digest.number}")
            return False
        if digest.number > self.number + 1:
            missing = f"digests {self.number + 1} to {digest.number - 1} are missing"
            self.report("chain-gap", digest.key, missing, self.end, digest.first)
            self.is_torn, self.is_next, self.sha256 = True, False, None
        if digest.head:
            self.follow(digest)
            self.cover(digest)
            self.to = max(self.to, digest.head["to"])
        self.is_torn, self.is_next = self.is_torn or not digest.head, digest.head is not None
        self.number, self.sha256 = digest.number, digest.sha256
        for entry in digest.entries:  # where a place is listed twice, the first stands
            self.records.setdefault(place(entry), (entry["key"], entry["sha256"], digest.head["to"]))
        self.before = before | self.before
        return True

    def follow(self, digest: Digest) -> None:
        """Check that it links to the one before: sha256, period, key."""
        head = digest.head
        if (self.sha256 or digest.number == 0) and head["previousSha256"] != self.sha256:
            digest.report("chain-gap", "it does not follow the digest before")
        if head["to"] < head["from"] or head["from"] < self.to:
            digest.report(
                "clock-backwards", "its period ends before it begins, or begins before the last ended"
            )
        elif self.is_next and self.to and head["from"] > self.to:
            digest.report("chain-gap", "its period does not begin where the last ended")
        if digest.signer in self.replaced:
            digest.report("unknown-key", f"it is signed by key {digest.signer}, which had been replaced")
        elif digest.signer not in (None, self.signer):
            self.replaced |= {self.signer} - {None}
            self.signer = digest.signer

    def cover(self, digest: Digest) -> None:
        """Check that its range goes on where the last ended, and take its late entries."""
        first, end = digest.first, self.end
        if first is not None:
            if end is None and not self.is_torn:
                self.start = first
            elif end is None or (self.is_torn and first > end):
                self.torn.append((end or (-1, -1), first))
            elif first <= end:
                digest.report("duplicated", "it claims places that were claimed before")
            elif first not in ((end[0], end[1] + 1), (max(first[0], end[0] + 1), 0)):
                self.torn.append((end, first))
                digest.report("chain-gap", "its range does not begin where the last ended")
            self.is_torn, self.end = False, max(end or digest.last, digest.last)
            self.claim(digest, *first, digest.last[1])
        for entry in sorted(digest.entries, key=place):
            at, last = place(entry), self.boot_last.get(entry["boot"], -1)
            if digest.is_new(at) or (self.start and at < self.start) or self.is_torn_at(at):
                continue
            if at[1] > last:  # the end of an old boot
                self.claim(digest, at[0], last + 1, at[1])
            elif self.records.get(at, (entry["key"],))[0] != entry["key"]:
                self.report("duplicated", entry["key"], "another object is listed for its place", at, at)

    def claim(self, digest: Digest, boot: int, first: int, last: int) -> None:
        self.claims.append((boot, first, last, digest))
        self.boot_last[boot] = max(self.boot_last.get(boot, -1), last)

    def is_torn_at(self, at: Place) -> bool:
        return any(low < at < high for low, high in self.torn)

    def is_recent(self, to: str) -> bool:
        age = datetime.fromisoformat(self.to) - datetime.fromisoformat(to)
        return age.total_seconds() * 1000 < GRACE_MS

    def finish(self) -> None:
        """Check that nothing that is counted is missing, and that each record names the one before."""
        places = sorted(self.records)
        self.holes = []  # first and last place that are counted and not listed, and whether they may come yet
        for boot, first, last, digest in self.claims:
            listed = places[bisect_left(places, (boot, first)) : bisect_left(places, (boot, last + 1))]
            ends = [first - 1, *(sequence for _, sequence in listed), last + 1]
            for low, high in pairwise(ends):
                if high - low > 1:
                    hole = (boot, low + 1), (boot, high - 1)
                    self.holes.append((*hole, self.is_recent(digest.head["to"])))
                    if not self.holes[-1][2]:
                        self.report("missing", digest.key, "it counts records that no digest lists", *hole)
        for position, at in enumerate(places):
            earlier = (at[0], at[1] - 1) if at[1] else places[position - 1] if position else None
            is_unknown = any(earlier and earlier <= low and high <= at for low, high in self.torn)
            if at not in self.before or earlier not in self.records or is_unknown:
                continue
            if self.before[at] != self.records[earlier][1]:
                if at[1] == 0 and self.is_recent(self.records[at][2]):
                    self.open_ends.append((earlier, at))  # the end of the boot before may come yet
                else:
                    self.broken_link(self.records[at][0], earlier, at)

    def broken_link(self, key: str, before: Place, at: Place) -> None:
        self.report("chain-gap", key, "it does not name the sha256 of the record before", before, at)

    def judge_unlisted(self, key: str, data: bytes, writer: dict) -> None:
        """Say of an object that no digest lists whether the next may."""
        at = place(writer)
        in_hole = [may_come for first, last, may_come in self.holes if first <= at <= last]
        may_come = self.end is None or at > self.end or any(a < at < b for a, b in self.open_ends)
        if self.start and at < self.start:
            counts["from before digests"] += 1
        elif self.is_torn_at(at):
            self.report("unlisted", key, "the digest that listed it is missing or cannot be used", at, at)
        elif in_hole[0] if in_hole else may_come:
            if at in self.unlisted:
                self.report("duplicated", key, "another object claims the same place", at, at)
            else:
                self.unlisted[at] = key, sha256(data), writer["previousSha256"]
                counts["not listed yet"] += 1
        elif not in_hole and at[1] <= self.boot_last.get(at[0], -1):
            self.report("duplicated", key, "another object is listed for its place", at, at)
        else:
            self.report("unlisted", key, "no digest lists it, and none will", at, at)

    def finish_unlisted(self) -> None:
        """Check the links of those that the next digest may list."""
        known = {at: record[1] for at, record in self.records.items()}
        known |= {at: digest for at, (_, digest, _) in self.unlisted.items()}
        for at, (key, digest, previous) in sorted(self.unlisted.items()):
            earlier, later = (at[0], at[1] - 1), (at[0], at[1] + 1)
            if previous != known.get(earlier, previous):
                self.broken_link(key, earlier, at)
            if self.before.get(later, digest) != digest:
                self.broken_link(self.records[later][0], at, later)


# --- All of it -------------------------------------------------------------------------------------------------------


def keys_below(folder: Path, top: str) -> set[str]:
    """Give the keys of all objects; names that begin with a dot are the store's own."""
    paths = (path.relative_to(folder).parts for path in (folder / top).rglob("*") if path.is_file())
    return {"/".join(parts) for parts in paths if not any(part.startswith(".") for part in parts)}


def verify(folder: Path, keys: dict, prefix: str, pins: list[tuple[str, int, str]]) -> dict[str, Chain]:
    chains: dict[str, Chain] = {}
    listed: dict[str, tuple] = {}
    prefixes, seen = {prefix}, set()
    for key in sorted(keys_below(folder, "digests")):
        name = DIGEST_NAME.fullmatch(key)
        if name is None:
            report("unlisted", key, "it lies among the digests, and its name is no digest's")
            continue
        digest = Digest(name, read_object(folder, key) or b"", keys)
        chain = chains.setdefault(digest.writer, Chain(digest.writer))
        seen.add((digest.writer, digest.number, digest.sha256))
        counts["digests"] += 1
        if not chain.add(digest, check_objects(folder, digest)):
            continue
        for entry in digest.entries:
            at, says = place(entry), (digest.writer, place(entry), entry["sha256"])
            counts["records listed"] += 1
            if listed.setdefault(entry["key"], says) != says:
                chain.report("duplicated", entry["key"], "digests list it with different contents", at, at)
            prefixes |= {match[1] for match in [RECORD_NAME.fullmatch(entry["key"])] if match}
    for writer, number, digest in pins:
        there = {one[2] for one in seen if one[:2] == (writer, number)}
        if digest not in there:
            kind = "modified" if there else "truncated"
            report(kind, f"digests/{writer}", f"digest {number}, which was pinned, is not there", writer)
    for chain in chains.values():
        chain.finish()
    for key in sorted({key for top in prefixes for key in keys_below(folder, top)} - listed.keys()):
        data = read_object(folder, key) or b""
        writer = read_writer(data)
        if writer is None:
            report("unlisted", key, "no digest lists it, and it is no record")
        elif writer["id"] not in chains:
            report("unlisted", key, "its writer has no digest", writer["id"], place(writer), place(writer))
        else:
            chains[writer["id"]].judge_unlisted(key, data, writer)
    for chain in chains.values():
        chain.finish_unlisted()
    if not chains:
        report("missing", "digests", "there is no digest: nothing speaks for these records")
    return chains


RECEIPT = {
    "type": lambda value: value == "llm-audit-receipt/1",
    "entry": lambda value: fits(value, ENTRY),
    "index": is_count,
    **{name: DIGEST[name] for name in ("head", "signature")},
    "path": lambda value: type(value) is list and all(map(is_sha256, value)),
}


def what_is_wrong_with(receipt: dict | None, keys: dict, record: bytes | None) -> str | None:
    """Say why a receipt proves nothing; None where it does."""
    if receipt is None:
        return "it is no receipt in canonical form"
    head, signature, entry = receipt["head"], receipt["signature"], receipt["entry"]
    if signature["keyId"] not in keys:
        return f"it is signed by key {signature['keyId']}, which was not given"
    if not has_signed(keys[signature["keyId"]], signature, canonical(head)):
        return "its head is not what the key signed"
    path = [bytes.fromhex(one) for one in receipt["path"]]
    is_inside = receipt["index"] < head["entries"]
    root = climb(leaf(entry), receipt["index"], head["entries"], path) if is_inside else None
    if root is None or root.hex() != head["rootSha256"]:
        return "its entry is not among those that the head signs"
    if record is not None and entry["sha256"] not in (sha256(record), sha256(record.removesuffix(b"\n"))):
        return "the record is another than the one that it is about"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--key", action="append", required=True)
    parser.add_argument("--prefix", default="logs")
    parser.add_argument("--pin", action="append", default=[])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--receipt", type=Path)
    parser.add_argument("--object", type=Path)
    given = parser.parse_args()
    keys = read_keys(given.key)
    if given.receipt:
        record = given.object.read_bytes() if given.object else None
        wrong = what_is_wrong_with(read_json(given.receipt.read_bytes().rstrip(b"\n"), RECEIPT), keys, record)
        print(f"the receipt proves nothing: {wrong}" if wrong else "proven")
        return 1 if wrong else 0
    if given.folder is None or not given.folder.is_dir():
        parser.error("FOLDER, with the bucket's objects, is needed")
    pins = [(writer, int(number), digest) for writer, number, digest in (pin.split(":") for pin in given.pin)]
    chains = verify(given.folder, keys, given.prefix, pins)
    heads = [f"{chain.writer}:{chain.number}:{chain.sha256}" for chain in chains.values()]
    if given.json:
        print(*map(json.dumps, found), json.dumps({"figures": counts, "heads": heads}), sep="\n")
        return 1 if found else 0
    for finding in found:
        print(f"{finding['finding']:16} {finding['object']!r}  {finding['detail']}")
    print(*(f"{count} {name}" for name, count in counts.items()), f"{len(found)} findings", sep=", ")
    print(*(f"last digest, to be kept outside: {head}" for head in heads), sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
