"""Opens objects: what one really is, and where in its writer's chain it stands."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_audit.cli.comparing.sources import fingerprint
from llm_audit.index.schema import (
    ItemSettings,
    NewerDocumentError,
    NotAnAuditDocumentError,
    item_from_document,
)
from llm_audit.ingest.documents import read_head
from llm_audit.integrity.completeness import Seen
from llm_audit.integrity.sequences import Place
from llm_audit.record.encoding import HEAD_LIMIT
from llm_audit.ship.storing import writer_in
from llm_audit.store.objects import ObjectMissingError, ObjectStore

_COUNTED = re.compile(r"([\d,]{1,20}) calls? (?:refused with|went through unrecorded)", re.ASCII)
"""How the record of calls that were only counted begins: ``journal/counted.py``."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An object that was read, and of how many calls it tells without a record of their own."""

    seen: Seen
    counted: int = 0


def open_object(store: ObjectStore, key: str, settings: ItemSettings) -> Opened | None:
    """Read and hash an object; None where it is gone. Raises StoreError for a store that is away."""
    try:
        try:
            head = read_head(store.stream(key))
        except NotAnAuditDocumentError as error:
            return Opened(_hashed(store, key, str(error)))
    except ObjectMissingError:
        return None
    place = _place(head.document)
    try:
        item = item_from_document(head.document, store.bucket, key, head.sha256, settings)
    except (NotAnAuditDocumentError, NewerDocumentError) as error:
        return Opened(Seen(head.sha256, head.size, place, problem=str(error)))
    seen = Seen(head.sha256, head.size, place, fingerprint(item))
    return Opened(seen, _counted(head.document))


def _hashed(store: ObjectStore, key: str, problem: str) -> Seen:
    digest, size = hashlib.sha256(), 0
    for piece in store.stream(key):
        digest.update(piece)
        size += len(piece)
    return Seen(digest.hexdigest(), size, problem=problem)


def place_of(store: ObjectStore, key: str) -> Place | None:
    """Give where a record stands in its chain, from its beginning alone. Raises StoreError."""
    try:
        found = writer_in(store.get_head(key, HEAD_LIMIT))
    except ObjectMissingError:
        return None
    return None if found is None else Place(*found)


def _place(document: Mapping[str, Any]) -> Place | None:
    writer = _part(document, "writer")
    match (writer.get("id"), writer.get("boot"), writer.get("sequence")):
        case (str(name), int(boot), int(sequence)):
            return Place(name, boot, sequence)
    return None


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, Mapping) else {}


def _counted(document: Mapping[str, Any]) -> int:
    """Give how many calls a record stands for that has no request line: nothing a caller sent gets in there."""
    message = _part(document, "error").get("message")
    if _part(document, "request").get("path") is not None or not isinstance(message, str):
        return 0
    match = _COUNTED.match(message)
    return 0 if match is None else int(match[1].replace(",", ""))
