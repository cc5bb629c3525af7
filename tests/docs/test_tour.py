"""The tour names what exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOUR = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
FILES = sorted(set(re.findall(r"`(\w+/[\w/]+\.py)`", TOUR)))
NAMED = sorted(set(re.findall(r"`(\w+/[\w/]+\.py)`\s+`([A-Za-z_.]+)`", TOUR)))


def definitions(path: Path) -> set[str]:
    """Names of a module's functions and classes, and of the classes' methods."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                f"{node.name}.{method.name}"
                for method in node.body
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return names


def test_the_tour_names_functions_in_most_rooms() -> None:
    rooms = {file.split("/")[0] for file, _ in NAMED}
    assert rooms >= {"proxy", "journal", "ship", "dialects", "record", "ingest", "index", "query", "cli"}


@pytest.mark.parametrize("file", FILES)
def test_a_file_that_the_tour_names_exists(file: str) -> None:
    assert (ROOT / "src" / "llm_audit" / file).is_file()


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_function_that_the_tour_names_is_in_its_file(file: str, name: str) -> None:
    assert name in definitions(ROOT / "src" / "llm_audit" / file)


def test_every_room_is_in_the_tour() -> None:
    rooms = {path.name for path in (ROOT / "src" / "llm_audit").iterdir() if (path / "__init__.py").exists()}
    assert {room for room in rooms if f"{room}/" not in TOUR} <= {"demo"}
