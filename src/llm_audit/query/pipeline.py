"""How the pipeline itself is: what supervisor and shipper say in their status files, and what lies in quarantine.

Reads files only. A file that is missing, half written or of another version is no error: what it would say is unknown.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUARANTINED_SHOWN = 200
"""Quarantined exchanges that are listed; the count is of all."""

_REASON_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class PipelineFolders:
    """Where the running processes leave what they say."""

    status: Path
    journal: Path
    quarantine: Path


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An exchange that could not become a record: its folder's name, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What was found. Members of the two status files keep their names (see ``ship.status``)."""

    supervisor: dict[str, Any] | None
    shipper: dict[str, Any] | None
    quarantined: tuple[Quarantined, ...]
    quarantined_count: int


def read_pipeline(folders: PipelineFolders) -> Pipeline:
    """Look now. Never raises for what it finds."""
    try:
        names = sorted(entry.name for entry in folders.quarantine.iterdir() if entry.is_dir())
    except OSError:
        names = []
    shown = names[:QUARANTINED_SHOWN]
    return Pipeline(
        supervisor=_document(folders.status / "supervisor.json"),
        shipper=_document(folders.status / "shipper.json"),
        quarantined=tuple(Quarantined(name, _reason(folders.quarantine / name)) for name in shown),
        quarantined_count=len(names),
    )


def _document(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _reason(folder: Path) -> str:
    try:
        with (folder / "reason.txt").open("rb") as file:
            return file.read(_REASON_BYTES).decode("utf-8", "replace").strip()
    except OSError as error:
        return f"its reason cannot be read: {error.strerror}"
