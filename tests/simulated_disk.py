"""A disk that forgets: of one folder, what a power cut would leave.

Syncs are seen, by ``os.fsync`` and ``os.fdatasync`` being replaced; whatever was not synced may be there all the same, page
by page and name by name, as the kernel wrote it back at any time (``write_back``).
"""

from __future__ import annotations

import os
import random
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = 4096


class SimulatedDisk:
    """What is on the disk of ``folder``, which holds files only. Files that are not in it are nobody's business."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[int, bytes] = {}
        self._names: dict[str, int] = {}
        self._lock = threading.Lock()
        self._thread = threading.get_ident()
        self.before_sync: Callable[[], None] = lambda: None
        """Called before each sync of the thread that made this: there the power may go."""
        self._patch = pytest.MonkeyPatch()
        for name in ("fsync", "fdatasync"):
            self._patch.setattr(os, name, self.sync)

    def undo(self) -> None:
        """Give the real syncs back."""
        self._patch.undo()

    def sync(self, fd: int) -> None:
        """Stand in for both syncs."""
        if threading.get_ident() == self._thread:
            self.before_sync()
        about = os.fstat(fd)
        with self._lock:
            if stat.S_ISDIR(about.st_mode):
                if self.folder.exists() and about.st_ino == self.folder.stat().st_ino:
                    self._names = self._names_now()
            elif stat.S_ISREG(about.st_mode):
                self._files[about.st_ino] = Path(f"/proc/self/fd/{fd}").read_bytes()

    def write_back(self, chance: random.Random) -> None:
        """Let the kernel write some pages and some names, as it may at any time, in any order."""
        share = chance.choice([0.1, 0.5, 0.9, 1.0])
        now = self._names_now()
        for name in sorted(now.keys() | self._names.keys()):
            if now.get(name) != self._names.get(name) and chance.random() < share:
                self._names.pop(name, None)
                if name in now:
                    self._names[name] = now[name]
        for name, inode in now.items():
            self._files[inode] = self._mixed(
                self._files.get(inode, b""), (self.folder / name).read_bytes(), chance, share
            )

    def cut(self) -> None:
        """Cut the power: from now on the folder holds what is on the disk. Nobody may have its files open for writing."""
        left = {name: self._files.get(inode, b"") for name, inode in self._names.items()}
        for path in self.folder.iterdir():
            path.unlink()
        for name, data in left.items():
            (self.folder / name).write_bytes(data)
        self._names = self._names_now()
        self._files = {inode: left[name] for name, inode in self._names.items()}

    def _names_now(self) -> dict[str, int]:
        return {entry.name: entry.inode() for entry in os.scandir(self.folder)}

    @staticmethod
    def _mixed(before: bytes, now: bytes, chance: random.Random, share: float) -> bytes:
        size = len(now)
        before = before.ljust(size, b"\0")[:size]
        if before == now:
            return now
        mixed = bytearray(before)
        for at in range(0, size, PAGE):
            if now[at : at + PAGE] != before[at : at + PAGE] and chance.random() < share:
                mixed[at : at + PAGE] = now[at : at + PAGE]
        return bytes(mixed)
