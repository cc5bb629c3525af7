"""Index items: keys and attributes. Pure, standard library only (it runs inside Lambda).

An item is one row about one object. DynamoDB and SQLite hold the same names (``attributes`` gives them);
the keys are strings built so that sorting them as text sorts them by time or by latency:

====================  ================================================  ===================
partition             sort                                              answers
====================  ================================================  ===================
``id``                ``createdAt``                                     a source over time
``userIdPk``          ``userIdSk``                                      a user over time
``statusPk``          ``statusSk``                                      a status over time
``latencyPk``         ``latencySk`` (latency padded to ten digits)      a source by latency
====================  ================================================  ===================
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_audit.index.texts import cut, kind, preview, short
from llm_audit.record.identity import says_nothing
from llm_audit.record.schema import DERIVED_STRING_LIMIT, SCHEMA_VERSION
from llm_audit.record.times import iso_from_ms, ms_from_iso

NOBODY = "-"
"""Stands for a source or user that a refused call did not usably state; the gate lets nobody claim it."""

NO_STATUS = "none"
"""Stands for the status of a call whose client was sent nothing."""

PREVIEW_CHARACTERS = 2048
"""Characters kept of ``promptPreview`` and ``responsePreview`` unless told otherwise."""

FINISH_REASONS_KEPT = 64
"""A call with ``n=1000`` has a thousand; an item of DynamoDB ends at 400 KB."""

LATENCY_DIGITS = 10
LATENCY_LIMIT = 10**LATENCY_DIGITS - 1
"""Longest latency an item can say (115 days, in milliseconds); longer ones are cut to it."""

STEM_LIMIT = 512
"""Bytes of an object's stem: DynamoDB's sort keys end at 1,024, and ``latencySk`` holds more than the stem."""

LARGEST_COUNT = 10**12
"""Larger numbers count nothing that happens in one call: they are left out, so that sums stay in range."""

_DATE_AND_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d.{0,24}")


class NotAnAuditDocumentError(ValueError):
    """The object is no audit document (or not in an audit document's place); it says why."""


class NewerDocumentError(ValueError):
    """An audit document of a schema version that this program does not know yet."""


@dataclass(frozen=True, slots=True)
class ItemSettings:
    """What shapes an item besides its document."""

    preview_characters: int = PREVIEW_CHARACTERS
    status_shards: int = 1
    """Over how many partitions one status is spread; one is right up to some hundred writes a second."""
    retention_days: int | None = None
    """None keeps items for ever; else ``expiresAt`` is so many days after the call's start."""


@dataclass(frozen=True, slots=True)
class Item:
    """One call as the index knows it. Times are ISO 8601 UTC with milliseconds, durations milliseconds."""

    stem: str
    """The object's name without folder and ``.json``: the request id, or ``id~writer-boot-sequence``."""
    source: str | None
    user: str | None
    started_at: str
    request_id: str
    request_type: str | None
    status_code: int | None
    outcome: str
    latency_ms: int
    time_to_first_chunk_ms: int | None
    operation: str | None
    model: str | None
    """The served model's name, or the requested one where no reply named it."""
    stream: bool
    input_tokens: int | None
    output_tokens: int | None
    total_tokens: int | None
    finish_reasons: tuple[str, ...]
    prompt_preview: str | None
    response_preview: str | None
    request_bytes: int | None
    response_bytes: int | None
    request_sha256: str | None
    response_sha256: str | None
    audit_bucket: str
    audit_object_key: str
    audit_object_sha256: str
    client_address: str | None
    user_agent: str | None
    identity_source: str | None
    key_id: str | None
    writer_id: str | None
    sequence: int | None
    schema_version: int
    status_shard: int | None = None
    expires_at: int | None = None
    """Seconds since the epoch at which DynamoDB may drop the item."""


KEY_NAMES = ("id", "createdAt", "userIdPk", "userIdSk", "statusPk", "statusSk", "latencyPk", "latencySk")


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


_IN_KEYS = frozenset({"stem", "source", "user", "started_at", "status_shard"})
_FIELDS = tuple(name for name in Item.__dataclass_fields__ if name not in _IN_KEYS)
_NAMES = {name: _camel(name) for name in _FIELDS}
ATTRIBUTE_NAMES = (*KEY_NAMES, *_NAMES.values())
"""Every name an item has in a table, keys first."""


def source_partition(source: str | None) -> str:
    """``id`` and ``latencyPk`` of a source; None or ``-`` stands for refusals without a usable one."""
    return f"project#{source or NOBODY}"


def user_partition(user: str | None) -> str:
    """``userIdPk`` of a user."""
    return f"user#{user or NOBODY}"


def status_partition(status: int | str | None, shard: int | None = None) -> str:
    """``statusPk`` of a status code, or of none; with its shard where the table has shards."""
    partition = f"status#{NO_STATUS if status is None else status}"
    return partition if shard is None else f"{partition}#{shard}"


def shard_of(stem: str, shards: int) -> int | None:
    """Give the shard that holds an object's status; None where there is only one."""
    return None if shards <= 1 else zlib.crc32(stem.encode()) % shards


def latency_sort(latency_ms: int) -> str:
    """Begin of ``latencySk``: padded, since as text 1000 would sort before 5."""
    return f"latency#{min(max(latency_ms, 0), LATENCY_LIMIT):0{LATENCY_DIGITS}d}"


def keys(item: Item) -> dict[str, str]:
    """Give the item's eight key strings by name."""
    when = f"{item.started_at}#{item.stem}"
    source = source_partition(item.source)
    return {
        "id": source,
        "createdAt": when,
        "userIdPk": user_partition(item.user),
        "userIdSk": when,
        "statusPk": status_partition(item.status_code, item.status_shard),
        "statusSk": f"{item.started_at}#project#{item.stem}",
        "latencyPk": source,
        "latencySk": f"{latency_sort(item.latency_ms)}#{when}",
    }


def attributes(item: Item) -> dict[str, Any]:
    """Give the item as a table holds it: every name of ``ATTRIBUTE_NAMES``, None where there is nothing."""
    values: dict[str, Any] = {**keys(item)}
    for field, name in _NAMES.items():
        values[name] = getattr(item, field)
    values["finishReasons"] = list(item.finish_reasons)
    return values


def item_from_attributes(values: Mapping[str, Any]) -> Item:
    """Give back the item whose ``attributes`` these are; names that are missing count as None."""
    started_at, _, stem = values["createdAt"].partition("#")
    source = values["id"].removeprefix("project#")
    user = values["userIdPk"].removeprefix("user#")
    shard = values["statusPk"].split("#")[2:]
    fields: dict[str, Any] = {field: values.get(name) for field, name in _NAMES.items()}
    fields["finish_reasons"] = tuple(values.get("finishReasons") or ())
    fields["stream"] = bool(fields["stream"])
    return Item(
        stem=stem,
        started_at=started_at,
        source=None if source == NOBODY else source,
        user=None if user == NOBODY else user,
        status_shard=int(shard[0]) if shard else None,
        **fields,
    )


def stem_of(key: str) -> str:
    """Give an object key's last part without ``.json``; raises NotAnAuditDocumentError for other keys."""
    name = key.rpartition("/")[2]
    if not name.endswith(".json") or len(name) == len(".json") or "#" in name:
        raise NotAnAuditDocumentError(f"key {_shown(key)} does not end in <requestId>.json")
    return name.removesuffix(".json")


def item_from_document(
    head: Mapping[str, Any], bucket: str, key: str, sha256: str, settings: ItemSettings | None = None
) -> Item:
    """Give the item of a parsed audit document; bodies are not looked at and may be missing.

    ``sha256`` is the digest of the whole object as lower-case hex. Raises NotAnAuditDocumentError where the
    document is something else or lies under another call's name, NewerDocumentError where it is of a later
    schema version.
    """
    settings = settings or ItemSettings()
    stem = stem_of(key)
    request_id, started_at = _require_document(head, stem)
    return Item(
        stem=stem,
        source=_identity(head, "source"),
        user=_identity(head, "user"),
        started_at=started_at,
        request_id=request_id,
        request_type=short(head.get("requestType")),
        status_code=_count(head.get("statusCode")),
        outcome=head["outcome"][:DERIVED_STRING_LIMIT],
        latency_ms=min(head["latencyMs"], LATENCY_LIMIT),
        time_to_first_chunk_ms=_count(head.get("timeToFirstChunkMs")),
        stream=head.get("stream") is True,
        prompt_preview=preview(head.get("promptPreview"), settings.preview_characters),
        response_preview=preview(head.get("responsePreview"), settings.preview_characters),
        audit_bucket=bucket,
        audit_object_key=key,
        audit_object_sha256=sha256,
        schema_version=head["schemaVersion"],
        status_shard=shard_of(stem, settings.status_shards),
        expires_at=_expires_at(started_at, settings.retention_days),
        **_model_fields(head),
        **_origin_fields(head),
    )


def _model_fields(head: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the model server did: model, tokens, sizes."""
    request, response = _part(head, "request"), _part(head, "response")
    usage, model = _part(head, "usage"), _part(head, "model")
    return {
        "operation": short(head.get("operation")),
        "model": short(model.get("served")) or short(model.get("requested")),
        "input_tokens": _count(usage.get("inputTokens")),
        "output_tokens": _count(usage.get("outputTokens")),
        "total_tokens": _count(usage.get("totalTokens")),
        "finish_reasons": _finish_reasons(head.get("finishReasons")),
        "request_bytes": _count(request.get("bytes")),
        "response_bytes": _count(response.get("bytes")),
        "request_sha256": short(request.get("sha256")),
        "response_sha256": short(response.get("sha256")),
    }


def _origin_fields(head: Mapping[str, Any]) -> dict[str, Any]:
    """Give where the call came from, and which writer recorded it."""
    client, identity, writer = _part(head, "client"), _part(head, "identity"), _part(head, "writer")
    return {
        "client_address": short(client.get("address")),
        "user_agent": short(client.get("userAgent")),
        "identity_source": short(identity.get("source")),
        "key_id": short(identity.get("keyId")),
        "writer_id": short(writer.get("id")),
        "sequence": _count(writer.get("sequence")),
    }


def _require_document(head: Mapping[str, Any], stem: str) -> tuple[str, str]:
    """Check what every audit document has, and that it lies under its own name."""
    version = _count(head.get("schemaVersion"))
    if version is None:
        raise NotAnAuditDocumentError(f"schemaVersion is {kind(head.get('schemaVersion'))}, not a number")
    if version > SCHEMA_VERSION:
        raise NewerDocumentError(
            f"document has schemaVersion {version}, this program knows {SCHEMA_VERSION}; use a newer llm-audit"
        )
    request_id = head.get("requestId")
    if not isinstance(request_id, str) or stem.partition("~")[0] != request_id:
        raise NotAnAuditDocumentError(f"requestId is {kind(request_id)}, but not what the object is named")
    if len(stem.encode("utf-8", "replace")) > STEM_LIMIT:
        raise NotAnAuditDocumentError(f"requestId has more than {STEM_LIMIT} bytes")
    if _count(head.get("latencyMs")) is None:
        raise NotAnAuditDocumentError(
            f"latencyMs is {kind(head.get('latencyMs'))}, not a whole number from 0"
        )
    if not isinstance(head.get("outcome"), str):
        raise NotAnAuditDocumentError(f"outcome is {kind(head.get('outcome'))}, not a word")
    return request_id, _moment(head.get("startedAt"))


def _moment(value: Any) -> str:
    """Give a time as the keys have it, whatever its offset and precision: UTC, milliseconds, ``Z``.

    A time before 1970 is a clock that was never set: it is refused like no time at all.
    """
    try:
        if isinstance(value, str) and _DATE_AND_TIME.fullmatch(value) and (ms := ms_from_iso(value)) >= 0:
            return iso_from_ms(ms)
    except (ValueError, OverflowError):
        pass
    raise NotAnAuditDocumentError(f"startedAt is {kind(value)}, not a time like 2026-11-24T02:10:11.123Z")


def _shown(value: Any) -> str:
    """Give a stranger's value for a message: quoted, so that it holds no control characters, and short."""
    return ascii(value)[:80]


def _identity(head: Mapping[str, Any], name: str) -> str | None:
    """Source or user: None where nobody is named. Never shortened, since a cut name would be another's.

    The gate lets no placeholder through; a document that was made by other means may hold one.
    """
    value = head.get(name)
    if value is None or (isinstance(value, str) and says_nothing(value)):
        return None
    if not isinstance(value, str) or len(value) > DERIVED_STRING_LIMIT:
        raise NotAnAuditDocumentError(f"{name} is no text of at most {DERIVED_STRING_LIMIT} characters")
    return cut(value, DERIVED_STRING_LIMIT)


def _part(head: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = head.get(name)
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_COUNT:
        return value
    return None


def _finish_reasons(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        return ()
    return tuple(text for text in map(short, value[:FINISH_REASONS_KEPT]) if text is not None)


def _expires_at(started_at: str, retention_days: int | None) -> int | None:
    return None if retention_days is None else ms_from_iso(started_at) // 1000 + retention_days * 86_400
