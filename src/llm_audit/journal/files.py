"""A writer's directory as files: names, durable creation, the lock, the boot number. No decisions.

Everything here that creates a name makes it durable (file, then directory) before it returns.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from llm_audit.journal.model import JournalFailedError, JournalFullError, JournalLockedError

_NAME = re.compile(r"(\d{8,})-(\d{8,})\.(seg|carry)")
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LOCK_PATIENCE_S = 2.0
"""A look at the lock (``orphans``) takes it for an instant; a writer waits that long for it."""

_UNFIT = {
    0x9123683E: "btrfs",
    0x2FC12FC1: "zfs",
    0xCA451A4E: "bcachefs",
    0xF2F52010: "f2fs",
    0x6969: "nfs",
    0xFF534D42: "cifs",
    0xFE534D42: "smb",
    0x00C36400: "ceph",
    0x65735546: "fuse",
    0x01021997: "9p",
}
"""``statfs`` magic numbers (linux/magic.h) where preallocated space does not keep a mapped store from faulting:
copy-on-write ones take new blocks for it, network ones have no such promise."""


class UnfitFilesystemError(Exception):
    """The directory lies where a store into a mapped, preallocated file can raise SIGBUS."""


@dataclass(frozen=True, slots=True, order=True)
class SegmentName:
    """A segment's place in its writer's order; a carry-over takes the place of the segment that it replaces."""

    boot: int
    number: int
    carry: bool = False

    def __str__(self) -> str:
        return f"{self.boot:08d}-{self.number:08d}.{'carry' if self.carry else 'seg'}"


@contextmanager
def disk_errors(directory: Path) -> Iterator[None]:
    """Turn the disk's errors while a boot is opened into the journal's."""
    try:
        yield
    except OSError as error:
        kind = JournalFullError if error.errno in _DISK_FULL else JournalFailedError
        raise kind(f"no journal can be opened in {directory}: {error}") from error


def segment_names(directory: Path) -> list[SegmentName]:
    """Name the segments in reading order; where a carry-over stands beside its original, only the carry-over."""
    found: dict[tuple[int, int], SegmentName] = {}
    for entry in os.listdir(directory):  # noqa: PTH208 - names only, on the reader's idle path
        match = _NAME.fullmatch(entry)
        if match:
            name = SegmentName(int(match[1]), int(match[2]), match[3] == "carry")
            known = found.get((name.boot, name.number))
            if known is None or name.carry:
                found[name.boot, name.number] = name
    return sorted(found.values())


def used_bytes(directory: Path) -> int:
    """Bytes of disk that the directory's files occupy (allocated blocks, so preallocated space counts)."""
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                total += entry.stat(follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def sync_directory(directory: Path) -> None:
    """Make the directory's names durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def prepare_directory(directory: Path) -> None:
    """Create a writer's directory (0700), durably. Raises UnfitFilesystemError with what to do instead."""
    directory.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    sync_directory(directory.parent)
    unfit = _UNFIT.get(_filesystem_magic(directory))
    if unfit is not None:
        raise UnfitFilesystemError(
            f"{directory} is on {unfit}, where a full disk can kill the process in spite of preallocated "
            "space; set AUDIT_JOURNAL_DIR to a folder on ext4, xfs or tmpfs"
        )


def _filesystem_magic(path: Path) -> int:
    """``statfs(2)``'s ``f_type``: the structure's first word, on every Linux architecture of 64 bits."""
    buffer = (ctypes.c_long * 32)()
    if ctypes.CDLL(None, use_errno=True).statfs(os.fsencode(path), buffer) != 0:
        raise OSError(ctypes.get_errno(), f"statfs {path}")
    return buffer[0] & 0xFFFFFFFF


def host_boot() -> str:
    """Name the machine's present boot; empty where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def probe(directory: Path) -> None:
    """Write and sync a small file and remove it: a new boot opens only where that works (invariant 9)."""
    path = directory / "probe.tmp"
    write_durably(path, bytes(4096))
    path.unlink()
    sync_directory(directory)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file and sync it; its name is durable only after ``sync_directory``."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _FILE_MODE)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_durably(path: Path, data: bytes) -> None:
    """Put a file in place whole: after a crash there is the old one or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    write_durably(temporary, data)
    temporary.replace(path)
    sync_directory(path.parent)


def remove_temporaries(directory: Path) -> None:
    """Remove what a crash left half-made; nothing ever reads a ``.tmp``."""
    for path in directory.glob("*.tmp"):
        path.unlink(missing_ok=True)


def next_boot(directory: Path) -> int:
    """Take the next boot number, durably: a number is never used twice, even if no segment followed."""
    path = directory / "boot"
    try:
        last = int(path.read_text())
    except (FileNotFoundError, ValueError):
        last = 0
    names = segment_names(directory)
    boot = max(last, names[-1].boot if names else 0) + 1
    replace_durably(path, b"%d\n" % boot)
    return boot


def new_writer_directory(journal: Path) -> Path:
    """Name a directory for a new writer: ``w-`` and 8 random hex digits. Nothing is created yet."""
    return journal / f"w-{secrets.token_hex(4)}"


def writer_directories(journal: Path) -> list[Path]:
    """Every writer's directory, in order of name."""
    if not journal.is_dir():
        return []
    return sorted(path for path in journal.iterdir() if path.is_dir() and path.name.startswith("w-"))


def take_lock(directory: Path, *, patience_s: float = _LOCK_PATIENCE_S) -> int:
    """Take the writer's lock (``flock``: it ends with the process) and give its file descriptor.

    Raises JournalLockedError if another process holds it for longer than ``patience_s``.
    """
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(fd)
                raise JournalLockedError(
                    f"{directory} is locked: another process writes this journal; stop it, or give this one "
                    "its own AUDIT_JOURNAL_DIR"
                ) from None
            time.sleep(0.01)
        except BaseException:
            os.close(fd)
            raise
        else:
            return fd


@contextmanager
def locked(directory: Path) -> Iterator[bool]:
    """Hold the writer's lock inside the block, if nobody holds it; gives whether it is held."""
    try:
        fd = take_lock(directory, patience_s=0)
    except JournalLockedError:
        yield False
        return
    try:
        yield True
    finally:
        os.close(fd)


def allocate(path: Path, size: int, head: bytes) -> tuple[int, mmap.mmap]:
    """Create a preallocated file that begins with ``head``, durably, and map it for writing.

    A full disk raises OSError here, and never later as SIGBUS. Gives file descriptor and mapping.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    try:
        os.posix_fallocate(fd, 0, size)
        os.pwrite(fd, head, 0)
        os.fsync(fd)
        sync_directory(path.parent)
        return fd, mmap.mmap(fd, size)
    except BaseException:
        os.close(fd)
        path.unlink(missing_ok=True)
        raise


def give_back_tail(fd: int, used: int, size: int) -> None:
    """Free the blocks after ``used`` of a segment that is done; its length stays, for readers have it mapped.

    Where the filesystem cannot punch holes, the blocks stay until the segment is deleted.
    """
    start = -(-used // mmap.PAGESIZE) * mmap.PAGESIZE
    if start < size:
        keep_size_punch_hole = 1 | 2
        ctypes.CDLL(None).fallocate(
            fd, keep_size_punch_hole, ctypes.c_int64(start), ctypes.c_int64(size - start)
        )
