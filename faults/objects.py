"""Stored objects, read as plain JSON, against the clients' ledger. Standard library only, none of the product's code."""

from __future__ import annotations

import base64
import collections
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.clients import Call, Ledger
from faults.row import Row, sentences

_COUNTED = re.compile(r"([\d,]+) calls? (?:was |were )?(refused|went through)")


@dataclass(slots=True)
class Objects:
    """Every stored record, with its place in its writer's chain."""

    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By request id, those of calls; several where an id was used several times."""
    counting: list[dict[str, Any]] = field(default_factory=list)
    """Records without a request line: each speaks of many calls that were only counted."""
    places: dict[tuple[str, int, int], tuple[str | None, str]] = field(default_factory=dict)
    """(writer, boot, sequence): the digest before it, and its own."""
    twice: int = 0
    """Places that two objects claim."""
    quarantined: int = 0

    @property
    def count(self) -> int:
        """All objects."""
        return len(self.places) + self.twice


def read_objects(folder: Path) -> Objects:
    """Read every record of a store; the digests beside them are ``verify``'s."""
    found = Objects()
    for path in folder.rglob("*.json"):
        if path.relative_to(folder).parts[0] == "digests":
            continue
        data = path.read_bytes()
        record = json.loads(data)
        at = record["writer"]
        place = (at["id"], at["boot"], at["sequence"])
        found.twice += place in found.places
        found.places[place] = (at["previousSha256"], hashlib.sha256(data).hexdigest())
        found.quarantined += is_stub(record)
        if record["request"]["path"] is None and not is_unreadable(record):
            found.counting.append(record)
        else:
            found.records.setdefault(record["requestId"], []).append(record)
    return found


def is_stub(record: dict[str, Any]) -> bool:
    """Tell whether a record only stands in the place of one that could not be made."""
    return (record["error"] or {}).get("type") == "quarantined"


def is_unreadable(record: dict[str, Any]) -> bool:
    """Tell whether a record is of one request whose request line never came, or could not be read."""
    error = record["error"] or {}
    return error.get("type") == "bad_request" and not _COUNTED.match(error["message"])


def is_truncated(record: dict[str, Any]) -> bool:
    """Tell whether a record says that bytes went through which the journal could not take."""
    return (record["error"] or {}).get("type") == "truncated"


def body_of(part: dict[str, Any] | None) -> bytes:
    """Give the exact bytes of a body as the record keeps them."""
    if part is None:
        return b""
    if part.get("bodyBase64") is not None:
        return base64.b64decode(part["bodyBase64"])
    return (part.get("bodyText") or "").encode()


def gaps(places: dict[tuple[str, int, int], tuple[str | None, str]]) -> collections.Counter[str]:
    """Count missing sequences and broken links, over all boots of each writer."""
    found = collections.Counter[str]()
    before: dict[str, tuple[int, int, str]] = {}
    for writer, boot, sequence in sorted(places):
        previous, digest = places[writer, boot, sequence]
        last = before.get(writer)
        if sequence and (last is None or last[:2] != (boot, sequence - 1)):
            found["gap in a sequence"] += 1
        if (last[2] if last else None) != previous:
            found["broken link of the chain"] += 1
        before[writer] = (boot, sequence, digest)
    return found


def differences(call: Call, record: dict[str, Any]) -> list[str]:
    """Say in what a record differs from what the client saw; what came before a cut must be in it."""
    found = []
    asked, answered = body_of(record["request"]), body_of(record["response"])
    if not answered.startswith(call.content):
        found.append("received bytes that are not recorded")
    elif call.ended and answered != call.content:
        found.append("a whole answer that is recorded otherwise")
    if record["outcome"] != "rejected" and call.status == 200 and asked != call.sent:
        found.append("a request that is recorded otherwise")
    if record["statusCode"] != call.status:
        found.append("another status than the client saw")
    for part, body in ((record["request"], asked), (record["response"], answered)):
        kept = part is not None and ("bodyText" in part or "bodyBase64" in part)
        if kept and record["outcome"] != "rejected" and part["sha256"] != hashlib.sha256(body).hexdigest():
            found.append("a digest that is not the body's")
    if call.head and b"x-request-id: " + call.request_id.encode() not in call.head.lower():
        found.append("an answer with another request id")
    return found


def counted(objects: Objects) -> collections.Counter[tuple[int | None, str]]:
    """Sum up what the counting records say, by status and code."""
    found = collections.Counter[tuple[int | None, str]]()
    for record in objects.counting:
        error = record["error"] or {}
        if said := _COUNTED.match(error.get("message", "")):
            found[record["statusCode"], error["type"]] += int(said[1].replace(",", ""))
    return found


@dataclass(slots=True)
class Comparison:
    """What came of it."""

    findings: collections.Counter[str] = field(default_factory=collections.Counter)
    duplicates: int = 0
    gaps: int = 0
    counted_only: int = 0
    """Answers that have no record of their own: refusals beyond the hundred a second that get one."""
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)


def compare(ledger: Ledger, objects: Objects, *, may_pass: bool = False) -> Comparison:
    """Hold every call of the ledger against its record, and the records against each other.

    ``may_pass``: calls may have been let through unrecorded (``AUDIT_WHEN_FULL=pass``), if they were counted.
    """
    result = Comparison()
    unrecorded = collections.Counter[tuple[int | None, str]]()
    silent = 0
    for call in ledger.calls:
        found = objects.records.get(call.request_id, [])
        result.duplicates += len(found) > 1
        if found:
            result.outcomes[str(found[0]["outcome"])] += 1
        if call.status is None:
            silent += not found
        elif found:
            if not (may_pass and is_truncated(found[0])):
                result.findings.update(differences(call, found[0]))
        elif call.code is not None:
            unrecorded[call.status, call.code] += 1
        elif may_pass:
            unrecorded[None, "unaudited"] += 1
        else:
            result.findings["answered, and not on record"] += 1
    result.counted_only = unrecorded.total()
    _account(unrecorded, counted(objects), silent, result.findings)
    result.findings["recorded twice"] += result.duplicates
    result.findings["two objects for one place in the sequence"] += objects.twice
    result.findings["quarantined"] += objects.quarantined
    known = {call.request_id for call in ledger.calls}
    result.findings["a record of a call that nobody made"] += len(objects.records.keys() - known)
    broken = gaps(objects.places)
    result.gaps = broken.total()
    result.findings += broken
    return result


def _account(
    unrecorded: collections.Counter[tuple[int | None, str]],
    counts: collections.Counter[tuple[int | None, str]],
    silent: int,
    findings: collections.Counter[str],
) -> None:
    """Hold what was answered without a record against the counts, by reason.

    A count may exceed it by calls of which no answer reached the client: ``silent`` ones, and no more than those.
    """
    for reason in unrecorded.keys() | counts.keys():
        missing = unrecorded[reason] - counts[reason]
        if missing > 0:
            findings[f"answered {reason[0]} {reason[1]}, neither recorded nor counted"] += missing
    beyond = sum(max(0, counts[reason] - unrecorded[reason]) for reason in counts)
    findings["counted, and nobody asked"] += max(0, beyond - silent)


def row(fault: str, ledger: Ledger, objects: Objects, comparison: Comparison, note: str = "") -> Row:
    """Make the table's row."""
    seen = [note] if note else []
    seen.append(f"{ledger.whole:,} answered whole")
    if comparison.counted_only:
        seen.append(f"{comparison.counted_only:,} more calls counted in {len(objects.counting):,} records")
    seen.append(
        "outcomes " + ", ".join(f"{name} {count:,}" for name, count in comparison.outcomes.most_common())
    )
    return Row(
        fault,
        calls=len(ledger.calls),
        acknowledged=ledger.acknowledged,
        records=objects.count,
        duplicates=comparison.duplicates + objects.twice,
        gaps=comparison.gaps,
        findings=sentences((+comparison.findings).items()),
        note="; ".join(seen),
    )
