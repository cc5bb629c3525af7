"""What was measured and what is assumed, from ``bench/measured.json``: the one place to renew a figure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parents[1] / "measured.json"


@dataclass(frozen=True, slots=True)
class Input:
    """One figure: ``note`` says how it was measured and when, or why it is assumed."""

    name: str
    value: float
    unit: str
    what: str
    note: str
    is_measured: bool


@dataclass(frozen=True, slots=True)
class Inputs:
    """All figures by name, and where they were measured."""

    machine: str
    by_name: dict[str, Input]

    def __getitem__(self, name: str) -> float:
        """Value of a figure; KeyError where there is none of that name."""
        return self.by_name[name].value


def read_inputs(file: Path = FILE) -> Inputs:
    """Read the file. Raises KeyError where a figure lacks a member that it must have."""
    document = json.loads(file.read_text(encoding="utf-8"))
    measured = [
        Input(name, one["value"], one["unit"], one["what"], f"{one['date']}: {one['by']}", is_measured=True)
        for name, one in document["measured"].items()
    ]
    assumed = [
        Input(name, one["value"], one["unit"], one["what"], one["why"], is_measured=False)
        for name, one in document["assumed"].items()
    ]
    return Inputs(document["machine"], {one.name: one for one in (*measured, *assumed)})
