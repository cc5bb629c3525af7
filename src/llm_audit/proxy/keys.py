"""API keys: the file that holds them, and the ring that looks them up while the file changes.

The file (``AUDIT_API_KEYS``) is JSON, written whole and atomically with mode 0600. It never holds a key, only
the SHA-256 of each: a key has 256 random bits, so a plain digest can't be searched for. ::

    {"version": 1,
     "keys": [{"id": "finance", "sha256": "<hex>", "sources": ["finance-app"], "rate": 10.0, "burst": 20,
               "dailyQuota": 100000, "enabled": true, "created": "2026-11-24T02:10:11.123Z"}],
     "gatewayKeys": [{"id": "<key id of API Gateway>", "sources": ["hr-app"], "enabled": true, "created": "…"}]}

``sources`` null means any source; ``rate`` is calls a second, ``burst`` calls at once, ``dailyQuota`` calls a
UTC day, null where there is no limit. ``gatewayKeys`` bind the gateway's key ids to sources; where there is at
least one, a gateway key id that is not listed may not call at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from llm_audit.proxy.usage_plan import NO_LIMITS, Limits
from llm_audit.record.identity import caller_value

FILE_VERSION = 1
KEY_PREFIX = "llma_"
"""What every key begins with, so that people and secret scanners know one when they see it."""
CHECK_SECONDS = 1.0
"""How often, at most, the ring looks whether its file has changed."""

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")

logger = logging.getLogger(__name__)


class KeyFileError(Exception):
    """The key file can't be read or is not what it must be; the message says where and what to do."""


@dataclass(frozen=True, slots=True)
class Key:
    """One API key, or one key id of the gateway (then ``sha256`` is None and ``limits`` are the gateway's)."""

    id: str
    sha256: str | None
    sources: frozenset[str] | None
    """Values of ``x-llm-source`` that it may speak for; None: any."""
    limits: Limits
    enabled: bool
    created: str
    """ISO 8601, UTC."""

    def may_speak_for(self, source: str) -> bool:
        """Tell whether a call with this key may name this source."""
        return self.sources is None or source in self.sources


class KeySet:
    """All keys of a file, with their look-up tables. Never changed: a change is a new set."""

    def __init__(self, keys: tuple[Key, ...] = ()) -> None:
        """Index the keys; raises KeyFileError where two keys have the same id or digest."""
        self.keys = keys
        self._by_digest = {bytes.fromhex(key.sha256): key for key in keys if key.sha256 is not None}
        self._by_gateway_id = {key.id: key for key in keys if key.sha256 is None}
        if len(self._by_digest) + len(self._by_gateway_id) < len(keys) or len({k.id for k in keys}) < len(
            keys
        ):
            raise KeyFileError("two keys have the same id or the same digest: ids and keys must be unique")

    @property
    def binds_gateway_keys(self) -> bool:
        """True where at least one of the gateway's key ids is listed, so that others are refused."""
        return bool(self._by_gateway_id)

    def find(self, presented: bytes) -> Key | None:
        """Give the key that a caller presented, enabled or not, or None.

        The look-up goes by digest. What its timing could tell is about the digest of what the caller sent,
        which says nothing about the digests of other keys.
        """
        return self._by_digest.get(hashlib.sha256(presented).digest())

    def find_gateway_key(self, key_id: str) -> Key | None:
        """Give the entry of one of the gateway's key ids, or None."""
        return self._by_gateway_id.get(key_id)

    def get(self, key_id: str) -> Key | None:
        """Give the key with this id, or None."""
        return next((key for key in self.keys if key.id == key_id), None)


def new_key() -> str:
    """Make a key: the prefix and 256 random bits in URL-safe base64. To be shown once and kept nowhere."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def digest_of(key: str) -> str:
    """Give what the file holds of a key: the SHA-256 of its text as sent, lower-case hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def check_key_id(key_id: str) -> str:
    """Give the id back if it may name a key; raises ValueError with what is allowed."""
    if not _ID.fullmatch(key_id):
        raise ValueError(f"{key_id!r} can't name a key: 1 to 64 of letters, digits, '.', '_' and '-'")
    return key_id


def check_source(source: str) -> str:
    """Give the source back if a caller could send it as ``x-llm-source``; raises ValueError with the reason."""
    value = caller_value("x-llm-source", source.encode())
    if isinstance(value, str):
        return value
    raise ValueError(f"no caller could name the source {source!r}: {value.sentence}")


def read_keys(path: Path) -> KeySet:
    """Read a key file. Raises KeyFileError where it is missing or broken."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"key file {path} can't be read: {error.strerror or error}") from error
    return _parse(content, path)


def write_keys(path: Path, keys: KeySet) -> None:
    """Write a key file whole: readers see the old file or the new one, on disk before this returns.

    Mode 0600. A symbolic link is followed, not replaced. Raises OSError.
    """
    path = path.resolve()
    document = {
        "version": FILE_VERSION,
        "keys": [_entry(key) for key in keys.keys if key.sha256 is not None],
        "gatewayKeys": [_entry(key) for key in keys.keys if key.sha256 is None],
    }
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def sole_editor(path: Path) -> Iterator[None]:
    """Keep other editors of key files in this folder waiting, so that no change of theirs is overwritten."""
    folder = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


class KeyRing:
    """The keys of a file that may change at any time.

    At most once a second it compares the file's modification time, inode and size with what it has read, and
    reads it again if they differ. A file that is broken or gone leaves the last good keys in force: half a
    file must neither lock everybody out nor let anybody in. It is logged once for each such state of the
    file, and ``problem`` says so until a good file is there.
    """

    def __init__(self, path: Path) -> None:
        """Read the file. Raises KeyFileError: there is no last good one yet."""
        self._path = path
        self._seen = self._signature()
        self._next_check = -1.0
        self.current = read_keys(path)
        self.problem: str | None = None

    def refresh(self, now_mono: float) -> KeySet:
        """Give the keys in force at ``now_mono``, in seconds of a monotonic clock. Never raises."""
        if now_mono >= self._next_check:
            self._next_check = now_mono + CHECK_SECONDS
            signature = self._signature()
            if signature != self._seen:
                self._seen = signature
                self._reread()
        return self.current

    def _reread(self) -> None:
        try:
            self.current = read_keys(self._path)
        except KeyFileError as error:
            self.problem = str(error)
            logger.error("%s; the %d keys read before stay in force", error, len(self.current.keys))  # noqa: TRY400 - the message says all; a trace of a parser helps nobody
        else:
            self.problem = None
            logger.info("key file %s read again: %d keys", self._path, len(self.current.keys))

    def _signature(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size


def _entry(key: Key) -> dict[str, Any]:
    sources = None if key.sources is None else sorted(key.sources)
    if key.sha256 is None:
        return {"id": key.id, "sources": sources, "enabled": key.enabled, "created": key.created}
    return {
        "id": key.id,
        "sha256": key.sha256,
        "sources": sources,
        "rate": key.limits.rate,
        "burst": key.limits.burst,
        "dailyQuota": key.limits.daily_quota,
        "enabled": key.enabled,
        "created": key.created,
    }


def _parse(content: bytes, path: Path) -> KeySet:
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise KeyFileError(f"key file {path} is not JSON: {error}") from None
    if not isinstance(document, dict) or document.get("version") != FILE_VERSION:
        found = document.get("version") if isinstance(document, dict) else type(document).__name__
        raise KeyFileError(
            f"key file {path} has version {found!r}: this program reads version {FILE_VERSION}"
        )
    keys: list[Key] = []
    for member, has_digest in (("keys", True), ("gatewayKeys", False)):
        entries = document.get(member, [])
        if not isinstance(entries, list):
            raise KeyFileError(f"key file {path}: {member!r} must be a list")
        for number, entry in enumerate(entries, 1):
            try:
                keys.append(_key(entry, has_digest=has_digest))
            except ValueError as error:
                raise KeyFileError(f"key file {path}, entry {number} of {member!r}: {error}") from None
    try:
        return KeySet(tuple(keys))
    except KeyFileError as error:
        raise KeyFileError(f"key file {path}: {error}") from None


_MEMBERS = frozenset({"id", "sources", "enabled", "created"})
_OWN_MEMBERS = _MEMBERS | {"sha256", "rate", "burst", "dailyQuota"}


def _key(entry: Any, *, has_digest: bool) -> Key:
    """Check one entry of the file; raises ValueError. A misspelt member must not read as 'no limit'."""
    if not isinstance(entry, dict):
        raise ValueError("must be an object")  # noqa: TRY004 - wrong content of a file, not a wrong call
    expected = _OWN_MEMBERS if has_digest else _MEMBERS
    if entry.keys() != expected:
        odd = sorted(entry.keys() ^ expected)
        raise ValueError(f"must have exactly the members {sorted(expected)}; missing or unknown: {odd}")
    if type(entry["enabled"]) is not bool or not isinstance(entry["created"], str):
        raise ValueError("'enabled' must be true or false, 'created' a time")
    if not isinstance(entry["id"], str) or (has_digest and not _is_digest(entry["sha256"])):
        raise ValueError("'id' must be a string, 'sha256' 64 lower-case hex digits")
    return Key(
        id=check_key_id(entry["id"]),
        sha256=entry["sha256"] if has_digest else None,
        sources=_sources(entry["sources"]),
        limits=Limits.of(entry["rate"], entry["burst"], entry["dailyQuota"]) if has_digest else NO_LIMITS,
        enabled=entry["enabled"],
        created=entry["created"],
    )


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _sources(value: Any) -> frozenset[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(source, str) for source in value):
        raise ValueError("'sources' must be null (any) or a list of at least one source")
    return frozenset(map(check_source, value))
