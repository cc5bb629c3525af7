"""Names of objects: where a record lies in the store, and what its name says. Pure.

``<prefix>/YYYY/MM/DD/<stem>.json``, by the UTC start of the request. The *stem* is the request id, or, where
that name is taken by another exchange, ``<requestId>~<writerId>-<boot>-<sequence>``. A name is made from
validated parts only: nothing that a caller sent reaches a key unless it is a UUID.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from llm_audit.record.times import day_from_epoch

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_WRITER = r"w-[0-9a-f]{8}"
_REQUEST_ID = re.compile(_UUID, re.ASCII)
_WRITER_ID = re.compile(_WRITER, re.ASCII)
_KEY = re.compile(
    rf"(?:(?P<prefix>.+)/)?(?P<day>\d{{4}}/\d\d/\d\d)/(?P<stem>(?P<id>{_UUID})"
    rf"(?:~(?P<writer>{_WRITER})-(?P<boot>\d+)-(?P<sequence>\d+))?)\.json",
    re.ASCII,
)
_PLAIN_KEY = re.compile(r"[\w~-][\w~.-]*(?:/[\w~-][\w~.-]*)*", re.ASCII)
"""What nearly every key looks like: one look tells that ``check_key`` has nothing to say."""
_KEY_LIMIT = 1024
_MS_PER_DAY = 86_400_000


@dataclass(frozen=True, slots=True)
class ObjectName:
    """What a key says: ``day`` as ``YYYY-MM-DD``; writer, boot and sequence for a conflict name only."""

    prefix: str
    day: str
    stem: str
    request_id: str
    writer_id: str | None = None
    boot: int | None = None
    sequence: int | None = None


def object_key(prefix: str, started_at_ms: int, request_id: str) -> str:
    """Key of a record whose request id nobody else has used.

    Raises ValueError where ``request_id`` is not a lower-case UUID or ``prefix`` cannot be part of a key.
    """
    return f"{day_prefix(prefix, started_at_ms)}{_checked_id(request_id)}.json"


def conflict_key(
    prefix: str, started_at_ms: int, request_id: str, writer_id: str, boot: int, sequence: int
) -> str:
    """Key of a record whose plain name belongs to another exchange with the same request id.

    Raises ValueError as ``object_key`` does, and for a malformed writer id.
    """
    if not _WRITER_ID.fullmatch(writer_id):
        raise ValueError(f"writer id {writer_id!r} is not of the form w-0123abcd")
    name = f"{_checked_id(request_id)}~{writer_id}-{boot}-{sequence}"
    return f"{day_prefix(prefix, started_at_ms)}{name}.json"


def day_prefix(prefix: str, started_at_ms: int) -> str:
    """Give what the keys of all records begin with whose requests started on that UTC day, slash included.

    ``started_at_ms`` counts from 1970-01-01T00:00:00Z. Raises ValueError for an unusable prefix.
    """
    return _day_prefix(prefix, started_at_ms // _MS_PER_DAY)


@functools.lru_cache(maxsize=64)
def _day_prefix(prefix: str, days: int) -> str:
    day = day_from_epoch(days).replace("-", "/")
    return f"{check_key(prefix)}/{day}/" if prefix else f"{day}/"


def parse_key(key: str) -> ObjectName | None:
    """Read a key back; None where it is no record's name."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    boot, sequence = match["boot"], match["sequence"]
    return ObjectName(
        prefix=match["prefix"] or "",
        day=match["day"].replace("/", "-"),
        stem=match["stem"],
        request_id=match["id"],
        writer_id=match["writer"],
        boot=None if boot is None else int(boot),
        sequence=None if sequence is None else int(sequence),
    )


def check_key(key: str) -> str:
    """Give the key back if every store can hold it, and a folder can hold it inside itself.

    Raises ValueError for an empty key, empty or dot segments, a segment that begins with a dot (the folder's
    own files do), a backslash, a control character, or more than 1,024 bytes (Amazon S3's limit).
    """
    if len(key) <= _KEY_LIMIT and _PLAIN_KEY.fullmatch(key):
        return key
    segments = key.split("/")
    if (
        not all(segments)
        or any(segment.startswith(".") for segment in segments)
        or "\\" in key
        or not key.isprintable()
        or len(key.encode("utf-8", "replace")) > _KEY_LIMIT
    ):
        raise ValueError(
            f"{key[:256]!r} cannot name an object: expected words joined by single slashes, none starting with a dot"
        )
    return key


def _checked_id(request_id: str) -> str:
    if not _REQUEST_ID.fullmatch(request_id):
        raise ValueError(f"request id {request_id[:64]!r} is not a lower-case UUID of the form 8-4-4-4-12")
    return request_id
