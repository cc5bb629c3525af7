"""Who looked at what, and who changed what: entries of an append-only log, each chained to the one before. Pure.

The log is a file of JSON lines. Every line carries its ``sequence``, from 1, and ``previousSha256``: the SHA-256 of the
line before, as its bytes stand in the file without the line feed (null in the first). So an entry that was changed,
taken out, put in or moved shows at the next one. What was cut off the end shows against a ``Head``: sequence and
digest of a last line that was seen, kept elsewhere (``head`` beside the file, a signature, somebody's notebook).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

ACTION = re.compile(r"[a-z][a-z0-9-]*(?:\.[a-z][a-z0-9-]*)*", re.ASCII)
"""What an action may be called: words joined by dots, the general first, such as ``content.page``."""

LINE_LIMIT = 64 * 1024
"""Bytes of one line. What would be longer has its details left out, never its actor, action or subject."""

FIELD_LIMIT = 1024
"""Characters of actor and subject."""


class Entry(NamedTuple):
    """One thing that somebody did."""

    sequence: int
    at: str
    """ISO 8601 UTC with milliseconds."""
    actor: str
    """Who: a user of the console (``console:anna``), of the machine (``os:root``), or a process (``process:serve``)."""
    action: str
    """What was done, such as ``content.page`` or ``users.add``; see ``ACTION``."""
    subject: str | None
    """To what: a request id, a user, a key's id, a filter in words."""
    details: Mapping[str, Any]
    """Whatever else explains it; never content, never a secret."""
    previous_sha256: str | None


class Head(NamedTuple):
    """The last line of a log: whoever kept it can tell that the log was cut."""

    sequence: int
    sha256: str


class Fault(NamedTuple):
    """Something that cannot be in an untouched log. ``line`` counts from 1."""

    line: int
    what: str


def line_of(entry: Entry) -> bytes:
    """Give an entry as its line, without the line feed. ASCII only, so that no text can begin a line of its own."""
    line = _encoded(entry)
    if len(line) > LINE_LIMIT:
        line = _encoded(entry._replace(details={"leftOut": f"{len(line)} bytes of details"}))
    return line


def _encoded(entry: Entry) -> bytes:
    members = {
        "sequence": entry.sequence,
        "at": entry.at,
        "actor": entry.actor[:FIELD_LIMIT],
        "action": entry.action,
        "subject": None if entry.subject is None else entry.subject[:FIELD_LIMIT],
        "details": dict(entry.details),
        "previousSha256": entry.previous_sha256,
    }
    return json.dumps(members, separators=(",", ":")).encode("ascii")


def parse_line(line: bytes) -> Entry:
    """Read an entry back; raises ValueError that says what is wrong with the line."""
    try:
        members = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("it is no JSON") from None
    if not isinstance(members, dict) or set(members) != _MEMBERS:
        raise ValueError("it is no entry: its members are others")
    entry = Entry(
        sequence=members["sequence"],
        at=members["at"],
        actor=members["actor"],
        action=members["action"],
        subject=members["subject"],
        details=members["details"],
        previous_sha256=members["previousSha256"],
    )
    if (
        type(entry.sequence) is not int
        or not all(isinstance(text, str) for text in (entry.at, entry.actor, entry.action))
        or not isinstance(entry.subject, str | None)
        or not isinstance(entry.details, dict)
        or not isinstance(entry.previous_sha256, str | None)
    ):
        raise ValueError("it is no entry: a member has another type")
    return entry


_MEMBERS = {"sequence", "at", "actor", "action", "subject", "details", "previousSha256"}


def digest_of(line: bytes) -> str:
    """Give what the next entry says of this line."""
    return hashlib.sha256(line).hexdigest()


def verify(lines: Iterable[bytes], head: Head | None = None) -> Iterator[Fault]:
    """Check a whole log, from its first line; ``head`` is a last line that was seen at some time.

    Lines come without their line feeds. After a fault the check goes on from what the line itself says, so that one
    change is one or two faults, and does not hide a second.
    """
    sequence, digest, number = 0, None, 0
    for number, line in enumerate(lines, 1):
        try:
            entry = parse_line(line)
        except ValueError as error:
            yield Fault(number, f"the line cannot be read: {error}")
            sequence, digest = sequence + 1, digest_of(line)
            continue
        yield from _misplaced(number, entry, sequence, digest)
        sequence, digest = entry.sequence, digest_of(line)
        if head is not None and head.sequence == sequence and head.sha256 != digest:
            yield Fault(number, f"entry {sequence} is not the one that was its last when the head was kept")
    if head is not None and head.sequence > sequence:
        yield Fault(
            number + 1,
            f"the log ends at entry {sequence}, but entry {head.sequence} was written: its end is gone",
        )


def _misplaced(number: int, entry: Entry, sequence: int, digest: str | None) -> Iterator[Fault]:
    if entry.sequence != sequence + 1:
        yield Fault(
            number,
            f"entry {entry.sequence} follows entry {sequence}: entries were taken out, put in or moved here",
        )
    elif entry.previous_sha256 != digest:
        yield Fault(
            number, f"entry {entry.sequence} was not written after the line before it: that was changed"
        )
