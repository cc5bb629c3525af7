"""What fuzzing has found, as files: a list of inputs for each target, and a file for each input that broke one."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path

HOME = Path(__file__).parent
CRASHES = HOME / "crashes"
CORPUS = HOME / "corpus"


def inputs(target: str) -> list[bytes]:
    """Give the inputs kept for a target: one a line, written as Python writes bytes, so that a diff can be read."""
    path = CORPUS / f"{target}.txt"
    if not path.exists():
        return []
    return [ast.literal_eval(line) for line in path.read_text().splitlines()]


def keep(target: str, found: Iterable[bytes]) -> None:
    """Keep these inputs for a target, and no others; short ones first."""
    CORPUS.mkdir(exist_ok=True)
    lines = [f"{one!r}\n" for one in sorted(set(found), key=lambda one: (len(one), one))]
    (CORPUS / f"{target}.txt").write_text("".join(lines))


def crashes(target: str) -> list[Path]:
    """Give the inputs that once broke this target."""
    return sorted((CRASHES / target).glob("*"))


def keep_crash(target: str, data: bytes) -> Path:
    """Put an input that broke a target where ``make test`` runs it from now on."""
    path = CRASHES / target / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def unfold(target: str, folder: Path) -> None:
    """Write the kept inputs as libFuzzer wants them: a file each."""
    folder.mkdir(parents=True)
    for number, data in enumerate(inputs(target)):
        (folder / f"{number:05d}").write_bytes(data)
