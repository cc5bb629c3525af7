"""What a fault is given and what it gives back."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Scale(Enum):
    """How much of a fault is run: ``short`` inside ``make test`` (seconds), ``full`` with ``make faults``."""

    SHORT = "short"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Stage:
    """What one fault is given. It starts nothing that outlives ``run``, and writes below ``folder`` only."""

    rng: random.Random
    """Every choice comes from here. What the machine's scheduler does is not in the seed."""
    folder: Path
    scale: Scale

    def choose(self, short: int, full: int) -> int:
        """Give one of two sizes."""
        return short if self.scale is Scale.SHORT else full


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Counts that mean nothing for a fault are None."""

    fault: str
    """What was done, in a few words."""
    calls: int | None = None
    """Calls that clients made (a connection was there, bytes were sent)."""
    acknowledged: int | None = None
    """Calls of which a client got at least a status."""
    records: int | None = None
    """Records found."""
    duplicates: int | None = None
    """Calls with more than one record."""
    gaps: int | None = None
    """Missing sequences and broken links of the chain of digests."""
    findings: tuple[str, ...] = ()
    """What broke the promise, one sentence each. None: all is as promised."""
    note: str = ""
    """What else was seen, limits of the run included."""
    skipped: str = ""
    """Why this could not be done on this machine; then nothing else counts."""

    @property
    def verdict(self) -> str:
        """``holds``, ``BROKEN`` or ``not run``."""
        if self.skipped:
            return "not run"
        return "BROKEN" if self.findings else "holds"


@dataclass(frozen=True, slots=True)
class Result:
    """All lines of one fault, with what it takes to see it again."""

    name: str
    seed: int
    scale: Scale
    seconds: float
    rows: tuple[Row, ...]

    @property
    def is_broken(self) -> bool:
        """Tell whether anything was found."""
        return any(row.findings for row in self.rows)

    @property
    def again(self) -> str:
        """Give the command that runs it once more."""
        return f"python -m faults --only {self.name} --seed {self.seed} --scale {self.scale.value}"


def sentences(counted: Iterable[tuple[str, int]]) -> tuple[str, ...]:
    """Make findings of counts: ``3 x gap in a sequence``."""
    return tuple(f"{count} x {what}" for what, count in counted if count)
