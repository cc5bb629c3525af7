"""Runs one target in a process of its own for a bounded time, and says what came of it."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from faults.fuzzing import kept

_RUNS = re.compile(rb"stat::number_of_executed_units:\s*(\d+)")
_COVERED = re.compile(rb"cov: (\d+)")
_TOLD = re.compile(r"[\w.]*(Error|Exception)\b|==\d+== ?ERROR")
_OPTIONS = ("-timeout=20", "-rss_limit_mb=2048", "-max_len=4096", "-print_final_stats=1")
_GRACE_S = 600
_MERGE_S = 1200


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """What one run of a target gave."""

    target: str
    seconds: int
    seed: int
    runs: int
    """Inputs that were tried."""
    edges: int
    """Branches of the product that were reached, as libFuzzer counts them."""
    new: tuple[bytes, ...]
    """Inputs that reached something that no kept one does."""
    broken: str
    """What broke, in a sentence; empty where nothing did."""


def is_possible() -> bool:
    """Whether atheris is here: it has wheels for Linux and CPython 3.11 to 3.13."""
    return importlib.util.find_spec("atheris") is not None


def fuzz(target: str, seconds: int, seed: int, targets: str = "faults.fuzzing.targets") -> Fuzzed:
    """Fuzz a target of the module ``targets``, and keep what broke it."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it, removed again
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory if memory.is_dir() else None) as scratch:
        folder = Path(scratch)
        kept.unfold(target, folder / "known")
        (folder / "new").mkdir()
        limits = (f"-max_total_time={seconds}", f"-seed={seed}", f"-artifact_prefix={folder}/crash-")
        done = _child(
            folder,
            f"{targets}:{target}",
            *limits,
            str(folder / "new"),
            str(folder / "known"),
            patience=seconds,
        )
        runs = int(found[1]) if (found := _RUNS.search(done.stderr)) else 0
        covered = _COVERED.findall(done.stderr)
        return Fuzzed(
            target,
            seconds,
            seed,
            runs,
            int(covered[-1]) if covered else 0,
            _read(folder / "new"),
            _broken(target, folder, done, runs),
        )


def fewest(target: str, more: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Of the kept inputs and these, give the fewest and shortest that reach all that they reach together."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        folder = Path(scratch)
        kept.unfold(target, folder / "all")
        for number, data in enumerate(more):
            (folder / "all" / f"new-{number}").write_bytes(data)
        (folder / "fewest").mkdir()
        named = f"faults.fuzzing.targets:{target}"
        done = _child(
            folder, named, "-merge=1", str(folder / "fewest"), str(folder / "all"), patience=_MERGE_S
        )
        found = _read(folder / "fewest")
        if done.returncode or not found:
            raise RuntimeError(f"the inputs of {target} cannot be merged: {_reason(done)}")
        return found


def _child(folder: Path, named: str, *options: str, patience: int) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "faults.fuzzing.child", named]
    # To merge, libFuzzer starts the program again and again, by the one word that it knows it by.
    again = folder / "again"
    again.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    again.chmod(0o700)
    # What a target writes lies below the folder, and goes with it, however the process ends.
    return subprocess.run(
        [*command, *_OPTIONS, *options],
        capture_output=True,
        timeout=patience + _GRACE_S,
        check=False,
        env={**os.environ, "TMPDIR": str(folder), "FUZZ_AGAIN": str(again)},
    )


def _read(folder: Path) -> tuple[bytes, ...]:
    return tuple(sorted(path.read_bytes() for path in folder.iterdir()))


def _broken(target: str, folder: Path, done: subprocess.CompletedProcess[bytes], runs: int) -> str:
    """Keep the inputs that broke the target; say what happened, and where they are."""
    crashes = [kept.keep_crash(target, path.read_bytes()) for path in sorted(folder.glob("crash-*"))]
    if crashes or done.returncode:
        where = ", ".join(str(path) for path in crashes)
        return f"{target} breaks on {where or 'start'}: {_reason(done)}"
    return "" if runs else f"{target} was not run at all: {_reason(done)}"


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Find what was said of it: atheris tells of exceptions on standard output, libFuzzer of the rest."""
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    told = [line.strip() for line in lines if _TOLD.match(line)]
    return (told or lines[-1:] or ["nothing was said"])[0][:300]
