"""Digests and the objects that they list, read from the store: in this process or in several."""

from __future__ import annotations

import gc
import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256

import orjson

from llm_audit.integrity.digest_check import (
    Checked,
    Seen,
    check_objects,
    open_digest,
    read_link,
    seen,
    unusable,
)
from llm_audit.integrity.digests import Entry
from llm_audit.integrity.signatures import PublicKey, read_public_key
from llm_audit.record.encoding import HEAD_LIMIT
from llm_audit.store.objects import ObjectMissingError, ObjectStore
from llm_audit.store.opening import open_store

LARGE = 8 << 20
"""Bytes from which an object is read in pieces."""

S3_READERS = 16
"""Objects read at once from a bucket, by each process; from a folder, one after another is fastest."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the store is, in words that another process can open it by; and the public keys, as PEM."""

    bucket: str
    region: str | None
    endpoint_url: str | None
    keys: tuple[str, ...]


class DigestReader:
    """Reads digests and what they list."""

    def __init__(self, store: ObjectStore, keys: Iterable[PublicKey], readers: int) -> None:
        """``readers``: objects read at once."""
        self._store = store
        self._keys: Mapping[str, PublicKey] = {key.id: key for key in keys}
        self._pool = ThreadPoolExecutor(readers, thread_name_prefix="verify") if readers > 1 else None

    @classmethod
    def open(cls, place: Place) -> DigestReader:
        """Open the store. Raises StoreSettingsError."""
        store = open_store(place.bucket, region=place.region, endpoint_url=place.endpoint_url)
        keys = (read_public_key(pem.encode("ascii")) for pem in place.keys)
        return cls(store, keys, S3_READERS if place.bucket.startswith("s3://") else 1)

    def check(self, key: str) -> Checked:
        """Read one digest and every object that it lists. Raises StoreError; a digest that is gone counts as empty."""
        try:
            data = self._store.get(key)
        except ObjectMissingError:
            data = b""
        digest, key_id, findings = open_digest(key, data, self._keys)
        if digest is None:
            return unusable(key, data, findings)
        objects = (self._pool.map if self._pool else map)(self.look, digest.entries)
        return check_objects(key, digest, key_id, list(objects), findings)

    def look(self, entry: Entry) -> Seen | None:
        """Read what lies under an entry's key, never much more of it than is listed; None where nothing does."""
        try:
            if entry.size < LARGE:
                return seen(self._store.get_head(entry.key, entry.size + 1))
            return self.look_through(entry.key, entry.size + 1)
        except ObjectMissingError:
            return None

    def look_at_unlisted(self, key: str, size: int) -> Seen:
        """Read an object that no digest lists; a small one must be JSON to its end to pass for a record.

        Raises ObjectMissingError, StoreError.
        """
        if size >= LARGE:
            return self.look_through(key)
        data = self._store.get(key)
        one = seen(data)
        try:
            orjson.loads(data)
        except orjson.JSONDecodeError:
            return one._replace(linked=None)
        return one

    def look_through(self, key: str, limit: int | None = None) -> Seen:
        """Read an object in pieces, no further than the limit. Raises ObjectMissingError, StoreError."""
        digest, size, head = sha256(), 0, b""
        for piece in self._store.stream(key):
            digest.update(piece)
            size += len(piece)
            if len(head) < HEAD_LIMIT:
                head += piece[:HEAD_LIMIT]
            if limit is not None and size >= limit:
                break
        return Seen(size, digest.hexdigest(), read_link(head))

    def close(self) -> None:
        """Let go of the threads."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)


_reader: DigestReader | None = None
"""This process's own, where it is one of several."""


def spare_the_collector() -> None:
    """Let the garbage collector of this process run seldom: records make many tuples and no cycles. A tenth of the CPU."""
    gc.set_threshold(50_000)


def _begin(place: Place) -> None:
    global _reader  # noqa: PLW0603 - how a pool's process gets what all its tasks need
    spare_the_collector()
    _reader = DigestReader.open(place)


def _check(key: str) -> Checked:
    assert _reader is not None
    return _reader.check(key)


@contextmanager
def checking(place: Place, reader: DigestReader, jobs: int) -> Iterator[_Checker]:
    """Give what checks digests: with one job here, else in so many processes."""
    with ExitStack() as opened:
        pool = None
        if jobs > 1:
            pool = ProcessPoolExecutor(
                jobs, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(place,)
            )
            opened.callback(pool.shutdown, cancel_futures=True)
        yield _Checker(reader, pool, jobs)


class _Checker:
    """Checks digests in order, a few ahead."""

    def __init__(self, reader: DigestReader, pool: ProcessPoolExecutor | None, jobs: int) -> None:
        self._reader = reader
        self._pool = pool
        self._ahead = 2 * jobs

    def results(self, keys: Iterable[str]) -> Iterator[Checked]:
        """Give what there is to know of each digest, in the order of the keys. Raises StoreError."""
        if self._pool is None:
            yield from map(self._reader.check, keys)
            return
        running: deque[Future[Checked]] = deque()
        for key in keys:
            running.append(self._pool.submit(_check, key))
            if len(running) > self._ahead:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
