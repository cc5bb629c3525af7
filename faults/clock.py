"""A clock that runs faster in real processes: an hour of theirs passes in a minute of ours.

A small library (``clock.c``, compiled here) is preloaded into them. It gives them a fast wall clock and a fast monotonic
clock, and shortens every wait by as much: sleeps, locks and conditions with a limit (Python's and Rust's), and the
time-outs of ``epoll``, ``poll`` and ``select``. So every back-off, time-out and interval of the product is what it is,
and only passes sooner. What is not made faster is the work itself: to such a process the machine, its disk and its
network seem slower by the same factor.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from faults.system import System

SOURCE = Path(__file__).with_name("clock.c")
RATE = 60
"""An hour in a minute. Much faster, and the work between two time-outs no longer fits between them."""


def compiler() -> str | None:
    """Give the C compiler of this machine, if there is one."""
    return shutil.which("cc") or shutil.which("gcc")


@dataclass(frozen=True, slots=True)
class FastClock:
    """A clock that began to run ``rate`` times faster when this was made."""

    library: Path
    rate: int = RATE
    began_monotonic_ns: int = field(default_factory=time.monotonic_ns)
    began_wall_ns: int = field(default_factory=time.time_ns)
    _ahead: Path | None = None

    @classmethod
    def make(cls, folder: Path, rate: int = RATE) -> FastClock:
        """Compile the library into a folder; ``rate`` 1 is as fast as ours. Raises RuntimeError where this machine cannot."""
        library = folder / "clock.so"
        command = [compiler() or "cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"{SOURCE.name} cannot be compiled: {error.stderr[-2000:]}") from error
        ahead = folder / "clock-ahead"
        ahead.write_bytes(bytes(8))
        return cls(library, rate, _ahead=ahead)

    def jump_to(self, seconds: float) -> None:
        """Put the wall clock of all its processes so far ahead of where it would be (behind, where negative), at once."""
        assert self._ahead is not None
        with self._ahead.open("r+b") as file:
            file.write(struct.pack("=q", round(seconds * 1e9)))

    @property
    def environ(self) -> dict[str, str]:
        """What a process must be started with to live by this clock."""
        before = os.environ.get("LD_PRELOAD", "")
        return {
            "LD_PRELOAD": f"{self.library} {before}".strip(),
            "FAULTS_CLOCK": f"{self.rate}:{self.began_monotonic_ns}:{self.began_wall_ns}",
            "FAULTS_CLOCK_AHEAD": str(self._ahead),
        }

    def wall_s(self) -> float:
        """Give the wall clock as those processes see it now."""
        since = time.monotonic_ns() - self.began_monotonic_ns
        return (self.began_wall_ns + since * self.rate) / 1e9

    def ours(self, seconds: float) -> float:
        """Give how long so many of their seconds take here."""
        return seconds / self.rate


def stop_and_settle(system: System) -> None:
    """Stop a system once all is stored; where it lives by a fast clock, start it by ours after that, and stop again.

    Of a fast clock's seconds the last steps of a stop take more than they may: the work is not made faster. What they
    left, the next start stores.
    """
    system.stop()
    if "FAULTS_CLOCK" in system.environ:
        system.environ = {
            name: value
            for name, value in system.environ.items()
            if name != "LD_PRELOAD" and not name.startswith("FAULTS_CLOCK")
        }
        system.start()
        system.wait_until_ready()
        system.stop()
