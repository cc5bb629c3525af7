"""Finds the faults and runs one of them."""

from __future__ import annotations

import importlib
import pkgutil
import random
import shutil
import time
import traceback
from pathlib import Path

from faults import cases
from faults.row import Result, Row, Scale, Stage


def names() -> list[str]:
    """Name every fault there is: the modules in ``faults/cases``."""
    return sorted(module.name for module in pkgutil.iter_modules(cases.__path__))


def run_one(name: str, seed: int, scale: Scale, folder: Path) -> Result:
    """Run one fault in a folder of its own, which stays if anything was found; never raises for a fault's sake."""
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    rows: list[Row] = []
    try:
        stage = Stage(random.Random(f"{seed}/{name}"), folder, scale)
        rows += importlib.import_module(f"faults.cases.{name}").run(stage)
    except Exception as error:  # noqa: BLE001 - a fault that cannot be run to its end is a finding, not the end of all
        where = "".join(traceback.format_exception(error)[-3:])
        (folder / "traceback").write_text("".join(traceback.format_exception(error)))
        rows.append(Row(name, findings=(f"it did not run to its end: {error!r}\n{where}",)))
    result = Result(name, seed, scale, time.monotonic() - began, tuple(rows))
    if not result.is_broken:
        shutil.rmtree(folder, ignore_errors=True)
    return result
