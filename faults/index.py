"""The index against the objects: one item for each, with its digest. None of the product's code."""

from __future__ import annotations

import collections
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

Item = Mapping[str, Any]
RECORDS = "logs"
"""The prefix of records' keys."""
MEMBERS = ("requestId", "requestType", "statusCode", "outcome", "latencyMs")
"""Of an item, that say what the object says under the same name."""


def objects_in(folder: Path) -> dict[str, bytes]:
    """Read every record of a store's folder, by its key; the digests beside them are ``verify``'s."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in (folder / RECORDS).rglob("*.json")}


def sqlite_items(path: Path) -> list[Item]:
    """Read every item of an embedded index; none where there is no file."""
    if not path.exists():
        return []
    with closing(
        sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30.0)
    ) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM items")]


def differences(objects: Mapping[str, bytes], items: Iterable[Item]) -> collections.Counter[str]:
    """Count in what index and objects differ."""
    found = collections.Counter[str]()
    seen = collections.Counter[str]()
    for item in items:
        key = str(item["auditObjectKey"])
        seen[key] += 1
        if key not in objects:
            found["an item without its object"] += 1
            continue
        record = json.loads(objects[key])
        if item["auditObjectSha256"] != hashlib.sha256(objects[key]).hexdigest():
            found["an item with another digest than its object's"] += 1
        if any(_plain(item.get(name)) != record[name] for name in MEMBERS):
            found["an item that says otherwise than its object"] += 1
        if item["createdAt"] != f"{record['startedAt']}#{Path(key).stem}":
            found["an item at another time than its object's"] += 1
    found["an object without its item"] = sum(key not in seen for key in objects)
    found["an object with several items"] = sum(count > 1 for count in seen.values())
    return +found


def _plain(value: Any) -> Any:
    """Give numbers as JSON has them: DynamoDB's are decimals."""
    return int(value) if value is not None and not isinstance(value, str) else value
