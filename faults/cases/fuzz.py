"""Coverage-guided fuzzing of the parsers, for a bounded time; what breaks one is kept as a test."""

from __future__ import annotations

from collections.abc import Iterator

from faults.fuzzing import running
from faults.fuzzing.targets import TARGETS
from faults.row import Row, Stage


def run(stage: Stage) -> Iterator[Row]:
    """Fuzz each target for a while; one row each."""
    if not running.is_possible():
        yield Row(
            "fuzzing of the parsers", skipped="atheris is not here: it runs on Linux, on CPython 3.11 to 3.13"
        )
        return
    for target in TARGETS:
        done = running.fuzz(target, stage.choose(1, 60), stage.rng.randrange(1, 1 << 31))
        note = f"{done.runs:,} inputs in {done.seconds} s, {done.edges:,} edges reached"
        yield Row(f"fuzzing: {target}", findings=(done.broken,) if done.broken else (), note=note)
