"""The store's one interface, and its errors.

Everything here is synchronous on purpose: a put from a thread costs two thirds of the CPU of an awaited one
(obstore 0.12: 127 µs against 214 µs), readers run in threads or on the command line anyway, and one way to
call a store is easier to remember than two. From a coroutine: ``await asyncio.to_thread(store.get, key)``.
Every method may be called from any thread.

A store may offer ``quick_puts`` beside it, for whoever has thousands of small objects a second. They know of
success alone; everything else is said by ``put_new``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class StoreError(Exception):
    """The store did not do what it was asked; the message says what came and what to do."""


class StoreSettingsError(StoreError):
    """The store cannot be opened with these settings; trying again changes nothing."""


class StoreUnavailableError(StoreError):
    """The store is away, slow, throttling or broken: the same call may succeed later."""


class StoreDeniedError(StoreError):
    """Credentials, permissions or the bucket are wrong: the call succeeds once somebody has mended that."""


class ObjectRefusedError(StoreError):
    """The store takes other objects, not this one (too large, name too long)."""


class ObjectMissingError(StoreError):
    """There is no object of that name."""


class Put(StrEnum):
    """What became of a conditional put."""

    CREATED = "created"
    """Stored now, durably, whole."""
    EXISTS = "exists"
    """Something of that name is (or, on S3 after a 409, may be just becoming) there; it was left alone."""


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """One line of a listing; ``size`` in bytes."""

    key: str
    size: int
    modified_ms: int = field(default=0, compare=False)
    """When it was stored, milliseconds since the epoch, by the store's clock (S3's has whole seconds)."""


class QuickPuts(Protocol):
    """Puts of small objects that go on while the caller does other things, all in the caller's one thread."""

    @property
    def under_way(self) -> int:
        """How many were begun and have not ended."""
        ...

    def begin(self, token: object, key: str, data: bytes, sha256: str) -> bool:
        """Begin to store ``data`` unless the name is taken; False where that has to go by ``put_new``.

        ``sha256`` is that of ``data``, in hex. ``token`` comes back from ``ended``.
        """
        ...

    def ended(self) -> list[tuple[object, bool]]:
        """Move all on as far as that goes without waiting; give what ended since, and whether it is stored now.

        Where it is not, it may be there all the same: ``put_new`` tells.
        """
        ...

    def close(self) -> None:
        """Let go of what is under way; it may be stored all the same."""
        ...


class ObjectStore(Protocol):
    """Objects by key: written once, never changed. All methods raise ``StoreError`` and nothing else."""

    @property
    def bucket(self) -> str:
        """What notifications and items name: the bucket, or the folder's ``file://`` URL."""
        ...

    def put_new(self, key: str, data: bytes) -> Put:
        """Store ``data`` under ``key`` unless that name is taken; in one step, never in parts.

        When it returns, the object is durable. When it raises, the object may or may not be there: ask again.
        """
        ...

    def quick_puts(self) -> QuickPuts | None:
        """Give a way to put many small objects at once; None where this store has none but ``put_new``."""
        ...

    def get(self, key: str) -> bytes:
        """Give the whole object. Raises ObjectMissingError."""
        ...

    def get_head(self, key: str, limit: int) -> bytes:
        """Give the object's first ``limit`` bytes, or all where it is shorter. Raises ObjectMissingError."""
        ...

    def stream(self, key: str) -> Iterator[bytes]:
        """Give the object piece by piece, so that a large one needs little memory. Raises ObjectMissingError."""
        ...

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectEntry]:
        """Give every object below ``prefix`` (a whole folder of keys, such as ``logs/2026/11``), sorted by key.

        With ``after`` only those whose key sorts later, which is how a listing goes on where another stopped.
        """
        ...

    def probe(self, prefix: str = "") -> None:
        """Ask the store for something harmless. Raises what is wrong, for ``doctor`` and a start-up check.

        It is asked below ``prefix``, since credentials may reach no further (the document's own policy does not).
        """
        ...
