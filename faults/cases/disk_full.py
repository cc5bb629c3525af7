"""The disk is full: of the journal alone, and of everything; a small tmpfs with ballast on it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults import outage
from faults.outage import Outage
from faults.row import Row, Stage
from faults.system import System, model_server


def run(stage: Stage) -> Iterator[Row]:
    """Fill the disk under load, and free it; one row for each place and policy."""
    if not outage.is_root():
        yield Row("ENOSPC", skipped="only root can mount a small filesystem")
        return
    kinds = [("journal", "reject"), ("everything", "reject"), ("journal", "pass"), ("everything", "pass")]
    with model_server() as upstream:
        for place, policy in kinds if stage.choose(0, 1) else [stage.rng.choice(kinds[:2])]:
            folder = stage.folder / f"{place}-{policy}"
            with mounted(folder / "small", "64m") as small:
                where = {"AUDIT_JOURNAL_DIR": str(small / "journal")}
                if place == "everything":
                    where = {"AUDIT_DATA_DIR": str(small)}
                settings = {"AUDIT_WHEN_FULL": policy, "AUDIT_JOURNAL_MAX_BYTES": "16MiB"} | where
                system = System(folder, settings=settings, upstream=upstream)
                name = f"ENOSPC, disk of {place}, {policy}"
                # Calls go on in what is left of the journal before the first of them passes.
                passes = policy == "pass"
                full = Outage(name, filled(small), 2500 if passes else 20, passes=passes, seconds=60.0)
                yield outage.run(stage, system, full, stage.choose(16, 64))


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Path]:
    """Mount a tmpfs of this size inside the block."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Take every free block inside the block, and each that becomes free meanwhile."""
    ballast = folder / "ballast"
    over = threading.Event()

    def fill() -> None:
        with ballast.open("ab", buffering=0) as file:
            while not over.is_set():
                for size in (1 << 20, 1 << 12):
                    try:
                        while not over.is_set():
                            file.write(bytes(size))
                    except OSError:
                        continue
                over.wait(0.02)

    filling = threading.Thread(target=fill)
    filling.start()
    try:
        yield
    finally:
        over.set()
        filling.join()
        ballast.unlink()
