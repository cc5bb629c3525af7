"""What processes have used, from the kernel's own books (Linux)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Role:
    """Some processes of a peer that are counted together."""

    name: str
    pids: tuple[int, ...]


def tree(pid: int) -> tuple[int, ...]:
    """Give a process and all that it started."""
    process = psutil.Process(pid)
    return (pid, *(child.pid for child in process.children(recursive=True)))


def cpu_us(pids: Iterable[int]) -> float:
    """Give microseconds on a CPU, of all threads; nanosecond books (schedstat) rather than clock ticks."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            with suppress(OSError):  # a thread that has just ended; pools keep theirs
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1000


def resident_mb(pids: Iterable[int]) -> float:
    """Give megabytes of memory in use (proportional set size: shared pages are divided among those who share)."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024
