"""Objects in a folder: what S3 promises, kept with the file system's own means.

Conditional create is ``link(2)``: the finished, synced temporary file gets its final name, which fails if that
exists. So at any crash point a name shows either nothing or the whole object:

1. temporary file in ``.tmp`` written and synced: invisible; a leftover older than an hour is removed later;
2. linked: visible, and whole; after a power cut the name may be gone again, and nobody was told of it;
3. the name's directory synced: durable, and only now ``put_new`` returns.

Folders are 0700 and files 0600: records hold what people wrote to a model.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llm_audit.store.keys import check_key
from llm_audit.store.objects import (
    ObjectEntry,
    ObjectMissingError,
    ObjectRefusedError,
    Put,
    StoreDeniedError,
    StoreError,
    StoreSettingsError,
    StoreUnavailableError,
)

LEFTOVER_AGE_S = 3600
"""A temporary file of that age has no living writer: a put takes seconds."""

PIECE = 1 << 20
"""Bytes per piece of a streamed object."""


class FolderStore:
    """An ``ObjectStore`` in one folder of this machine."""

    def __init__(self, root: Path) -> None:
        """Objects live below ``root``, which is made when the first is stored."""
        self._root = root.absolute()
        self._root_name = str(self._root).rstrip("/")
        self._temporary = self._root / ".tmp"
        self._known: set[Path] = set()
        self._making = threading.Lock()

    @property
    def root(self) -> Path:
        """The folder: the object ``a/b.json`` is its file ``a/b.json``."""
        return self._root

    @property
    def bucket(self) -> str:
        """The folder as a ``file://`` URL."""
        return self._root.as_uri()

    def put_new(self, key: str, data: bytes) -> Put:
        """See ``ObjectStore.put_new``."""
        final = self._path(key)
        with _errors(f"storing {key}"):
            try:
                put = self._link_new(final, data)
                # An existing name is synced too: whoever made it may have died before this step.
                _sync_name(final, is_ours=put is Put.CREATED)
            except FileNotFoundError as error:
                self._known.clear()  # folders were removed under us: the next try makes them again
                raise StoreUnavailableError(
                    f"storing {key}: its folder went away ({error.filename})"
                ) from error
        return put

    def quick_puts(self) -> None:
        """See ``ObjectStore.quick_puts``: a put waits for the disk, so threads are the way."""

    def get(self, key: str) -> bytes:
        """See ``ObjectStore.get``."""
        with _errors(f"reading {key}"):
            return self._path(key).read_bytes()

    def get_head(self, key: str, limit: int) -> bytes:
        """See ``ObjectStore.get_head``."""
        # Plain calls: whoever verifies a million objects opens each, and a Path, a buffer and a context cost more than
        # the reading. A regular file gives less than it is asked for at its end alone.
        try:
            descriptor = os.open(self._name(key), os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.read(descriptor, limit)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _told(f"reading {key}", error) from error

    def stream(self, key: str) -> Iterator[bytes]:
        """See ``ObjectStore.stream``."""
        with _errors(f"reading {key}"), self._path(key).open("rb") as file:
            while piece := file.read(PIECE):
                yield piece

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectEntry]:
        """See ``ObjectStore.list``."""
        top = prefix.strip("/")
        folder = self._path(top) if top else self._root
        yield from self._walk(str(folder), f"{top}/" if top else "", after)

    def probe(self, prefix: str = "") -> None:  # noqa: ARG002 - a folder is reached whole or not at all
        """See ``ObjectStore.probe``: makes the folder and syncs a small file in it."""
        with _errors(f"trying {self._root}"):
            self._make(self._temporary)
            trial = self._temporary / uuid.uuid4().hex
            try:
                _write_synced(trial, b"probe")
            finally:
                trial.unlink(missing_ok=True)

    def _link_new(self, final: Path, data: bytes) -> Put:
        self._make(self._temporary)
        self._make(final.parent)
        temporary = self._temporary / uuid.uuid4().hex
        try:
            _write_synced(temporary, data)
            os.link(temporary, final)
        except FileExistsError:
            return Put.EXISTS
        else:
            return Put.CREATED
        finally:
            with suppress(FileNotFoundError):
                temporary.unlink()

    def _walk(self, folder: str, above: str, after: str) -> Iterator[ObjectEntry]:
        """Give what lies below a folder, whose keys begin with ``above``: plain strings, for there may be millions."""
        ways = [(folder, above, self._names(folder))]
        while ways:
            folder, above, names = ways[-1]
            for name in names:
                key = above + name
                if name.endswith("/"):
                    # All its keys begin with its own: none is later unless that is, or is where the other stopped.
                    if key > after or after.startswith(key):
                        below = f"{folder}/{name[:-1]}"
                        ways.append((below, key, self._names(below)))
                        break
                elif key > after:
                    with suppress(FileNotFoundError):
                        about = os.stat(f"{folder}/{name}")  # noqa: PTH116 - a Path costs more than the stat
                        yield ObjectEntry(key, about.st_size, about.st_mtime_ns // 1_000_000)
            else:
                ways.pop()

    def _names(self, folder: str) -> Iterator[str]:
        """Give the names in a folder, sorted as keys are, folders with a slash at their end; none where it is gone."""
        with _errors(f"listing {folder}"):
            try:
                with os.scandir(folder) as found:
                    # A folder sorts as its keys do, "a/" before or after "a.json", so that the whole listing is sorted.
                    names = sorted(entry.name + "/" if entry.is_dir() else entry.name for entry in found)
            except (FileNotFoundError, NotADirectoryError):
                return iter(())  # no such objects, or swept away meanwhile
        return (name for name in names if not name.startswith("."))

    def _path(self, key: str) -> Path:
        return Path(self._name(key))

    def _name(self, key: str) -> str:
        try:
            return f"{self._root_name}/{check_key(key)}"
        except ValueError as error:
            raise ObjectRefusedError(str(error)) from None

    def _make(self, folder: Path) -> None:
        """Make a folder and the folders above it, durably; remembered, so that it costs nothing next time."""
        if folder in self._known:
            return
        with self._making:
            missing = []
            above = folder
            while not above.is_dir():
                missing.append(above)
                above = above.parent
            for new in reversed(missing):
                with suppress(FileExistsError):
                    new.mkdir(mode=0o700)
                _sync(new.parent)
            if not self._known:
                self._sweep()
            self._known.add(folder)

    def _sweep(self) -> None:
        """Remove what killed writers left in ``.tmp``."""
        with suppress(FileNotFoundError):
            for entry in os.scandir(self._temporary):
                with suppress(FileNotFoundError):
                    # The file system's own times on both sides: the wall clock may jump, but not by puts.
                    if time.time() - entry.stat().st_mtime > LEFTOVER_AGE_S:
                        Path(entry.path).unlink()


def open_folder(root: Path) -> FolderStore:
    """Give the folder as a store. Raises StoreSettingsError where the path exists and is no folder."""
    if root.exists() and not root.is_dir():
        raise StoreSettingsError(
            f"{root} is a file, not a folder: give AUDIT_BUCKET a folder, or move the file"
        )
    return FolderStore(root)


def _write_synced(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_name(final: Path, *, is_ours: bool) -> None:
    try:
        _sync(final.parent)
    except FileNotFoundError:
        raise
    except OSError:
        # A failed sync says nothing about a second one (the kernel drops the pages): take the name back, so that
        # the next try starts from nothing instead of trusting it.
        if is_ours:
            with suppress(OSError):
                final.unlink()
        raise


@contextmanager
def _errors(doing: str) -> Iterator[None]:
    """Turn the operating system's errors into the store's."""
    try:
        yield
    except OSError as error:
        raise _told(doing, error) from error


def _told(doing: str, error: OSError) -> StoreError:
    """Give the store's error for the operating system's."""
    if isinstance(error, FileNotFoundError):
        return ObjectMissingError(f"{doing}: nothing there ({error.filename})")
    if isinstance(error, PermissionError):
        return StoreDeniedError(f"{doing}: {error}; let this user own the folder and its files")
    return StoreUnavailableError(f"{doing}: {error}; free space or mend the disk")
