"""The file through which the shipper's metrics reach whoever is scraped; replaced whole, about once a second."""

from __future__ import annotations

import os
from pathlib import Path

import orjson

from llm_audit.telemetry.snapshot import Snapshot

NAME = "metrics.json"
"""Below the status folder."""


def publish(path: Path, snapshot: Snapshot) -> None:
    """Replace the file in one step; not synced, since it speaks of a moment. Raises OSError."""
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps(snapshot.as_document()))
    temporary.replace(path)


def read_published(path: Path) -> Snapshot | None:
    """Read the file; None where there is none, or one that this version cannot read."""
    try:
        return Snapshot.from_document(orjson.loads(path.read_bytes()))
    except (OSError, AttributeError, LookupError, TypeError, ValueError):
        return None
