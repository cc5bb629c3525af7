"""The ingestion Lambda of Central LLM Audit: S3 notifications in, DynamoDB items out. One file, handler.lambda_handler.

Written by `make docs` from src/llm_audit (each part names its module there); a test compares them. Change the
sources, never this file. It needs Python 3.11 or newer and botocore, which every Python runtime of Lambda has, and
nothing else: zip it alone, or run `llm-audit lambda build`. Settings are environment variables; see lambda_settings.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
import time
import unicodedata
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from itertools import accumulate, chain, islice
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import unquote_plus

import botocore.exceptions
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


# ---- llm_audit/record/schema.py
# The audit record: what is kept of one exchange, frozen.

SCHEMA_VERSION = 1
"""Raised when a member changes its meaning; adding one does not raise it."""

DERIVED_STRING_LIMIT = 256
"""Characters kept of any string derived from a body (model, operation, error type) in items and labels."""


# ---- llm_audit/index/texts.py
# Texts of strangers, made fit for an item: cut, encodable, or only described. Pure, standard library only.

_JOINING = frozenset({"\u200d", "\ufe0e", "\ufe0f"})
"""Zero-width joiner and variation selectors: they belong to the character before."""

_LONGEST_CLUSTER = 16
"""Code points that a preview's end may give up so as not to cut a visible character in two."""


def cut(value: Any, limit: int) -> str | None:
    """Cut to ``limit`` characters; what UTF-8 cannot say (lone surrogates) becomes ``?``."""
    if not isinstance(value, str):
        return None
    text = value[:limit]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def preview(value: Any, limit: int) -> str | None:
    """Cut to ``limit`` characters, or a few less where that would part an accent from its letter."""
    if not isinstance(value, str) or len(value) <= limit:
        return cut(value, limit)
    for end in range(limit, max(0, limit - _LONGEST_CLUSTER), -1):
        if not (_extends(value[end]) or value[end - 1] == "\u200d"):
            return cut(value, end)
    return cut(value, limit)


def _extends(character: str) -> bool:
    return not character.isascii() and (
        character in _JOINING
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
        or unicodedata.category(character) in ("Mn", "Me", "Mc")
    )


def short(value: Any) -> str | None:
    """Cut to what an item keeps of a derived string."""
    return cut(value, DERIVED_STRING_LIMIT)


def kind(value: Any) -> str:
    """Say what a stranger's value is, without saying it: it may be anything, and this goes into logs."""
    if isinstance(value, str):
        return f"a text of {len(value)} characters"
    if value is None or isinstance(value, bool | int | float):
        return ascii(value)[:80]
    return f"a {type(value).__name__}"


# ---- llm_audit/record/identity.py
# Who is calling: the rules for one caller header value, and for request ids. Pure.

PLACEHOLDERS = frozenset({"-", "null", "none", "undefined", "unknown", "n/a"})
"""Values, in any case, that say that nobody said anything."""

_UNRESOLVED = re.compile(r"\$context|\$\{.*\}|\{\{.*\}\}", re.IGNORECASE)
"""A variable of API Gateway, of a shell or of a template that was never filled in, anywhere in a value."""


def says_nothing(value: str) -> bool:
    """Tell whether a value names nobody: blank, a placeholder, or a variable that was never filled in."""
    return not value.strip() or value.strip().lower() in PLACEHOLDERS or bool(_UNRESOLVED.search(value))


# ---- llm_audit/record/times.py
# Times as the record writes them: ISO 8601, UTC, always milliseconds, always ``Z``.

_EPOCH_DAYS: dict[int, str] = {}

_EPOCH_SECONDS: dict[int, str] = {}

_REMEMBERED = 1000


def iso_from_ms(ms: int) -> str:
    """``1795486253123`` as ``2026-11-24T02:10:53.123Z``; ``ms`` counts from the epoch, UTC."""
    seconds = ms // 1000
    # A record has three times, and its neighbours the same seconds.
    text = _EPOCH_SECONDS.get(seconds)
    if text is None:
        if len(_EPOCH_SECONDS) > _REMEMBERED:
            _EPOCH_SECONDS.clear()
        text = _EPOCH_SECONDS[seconds] = _second_from_epoch(seconds)
    return f"{text}.{ms - seconds * 1000:03d}Z"


def _second_from_epoch(seconds: int) -> str:
    day, second_of_day = divmod(seconds, 86_400)
    minutes, second = divmod(second_of_day, 60)
    hour, minute = divmod(minutes, 60)
    return f"{day_from_epoch(day)}T{hour:02d}:{minute:02d}:{second:02d}"


def day_from_epoch(day: int) -> str:
    """``YYYY-MM-DD`` of the given count of days since the epoch; remembered, since most calls are today's."""
    text = _EPOCH_DAYS.get(day)
    if text is None:
        if len(_EPOCH_DAYS) > _REMEMBERED:
            _EPOCH_DAYS.clear()
        text = _EPOCH_DAYS[day] = datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")
    return text


def ms_from_iso(text: str) -> int:
    """Milliseconds since the epoch of an ISO 8601 time; a time without offset is taken as UTC.

    Raises ValueError with the text that came and the form that is expected.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no ISO 8601 time such as 2026-11-24T02:10:11.123Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


# ---- llm_audit/index/schema.py
# Index items: keys and attributes. Pure, standard library only (it runs inside Lambda).

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


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


_IN_KEYS = frozenset({"stem", "source", "user", "started_at", "status_shard"})

_FIELDS = tuple(name for name in Item.__dataclass_fields__ if name not in _IN_KEYS)

_NAMES = {name: _camel(name) for name in _FIELDS}


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


# ---- llm_audit/index/dynamodb_items.py
# Items as DynamoDB holds them: attribute values, sizes, and which partitions hold which status. Pure.

AttributeValue = dict[str, Any]
"""One value in DynamoDB's own notation: ``{"S": "text"}``, ``{"N": "12"}``, ``{"BOOL": true}``, ``{"L": [...]}``."""

Row = dict[str, AttributeValue]
"""An item in DynamoDB's own notation."""

ITEM_LIMIT = 400 * 1024
"""Bytes that DynamoDB takes for one item, names included (Service quotas, "Item size")."""

_ROOM = 1024
"""Left free: DynamoDB does not say to the byte how it counts a number."""

MARKER_ID = "index#partitions"
"""``id`` of every marker; no source can have it, since theirs begin with ``project#``."""

LIKELY_STATUSES = (
    NO_STATUS,
    *(
        str(code)
        for codes in (
            (*range(200, 209), 226),  # RFC 9110 and the IANA registry of status codes
            range(300, 309),
            (*range(400, 432), 451, 499),  # 499: nginx, the client went away
            (*range(500, 512), *range(520, 531)),  # 52x: proxies of content networks; 529: overloaded
        )
        for code in codes
    ),
)
"""Statuses that every reader looks for. Removing one would hide calls; adding one is safe."""

_LIKELY = frozenset(LIKELY_STATUSES)


def row_of(item: Item) -> Row:
    """Give an item as DynamoDB takes it, its previews shortened where it would be too large."""
    row = {name: _value(value) for name, value in attributes(item).items() if value is not None}
    if not item.finish_reasons:
        del row["finishReasons"]
    over = size_of(row) - (ITEM_LIMIT - _ROOM)
    return _shortened(row, over) if over > 0 else row


def size_of(row: Row) -> int:
    """Give an item's size as DynamoDB counts it: UTF-8 bytes of names and values (never less)."""
    return sum(len(name.encode()) + _size(value) for name, value in row.items())


def markers_of(item: Item) -> tuple[str, ...]:
    """Give the markers (their ``createdAt``) that must be there before this item is; most items need none."""
    status = NO_STATUS if item.status_code is None else str(item.status_code)
    if item.status_shard is None:
        return () if status in _LIKELY else (status_partition(status),)
    return (status_partition(status), f"shards#{1 << item.status_shard.bit_length():05d}")


def marker_row(marker: str) -> Row:
    """Give a marker as DynamoDB takes it."""
    return {"id": {"S": MARKER_ID}, "createdAt": {"S": marker}}


def _value(value: Any) -> AttributeValue:
    match value:
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case list() | tuple():
            return {"L": [_value(one) for one in value]}
        case _:
            return {"S": str(value)}


def _size(value: AttributeValue) -> int:
    ((kind, inner),) = value.items()
    match kind:
        case "S":
            return len(inner) if inner.isascii() else len(inner.encode())
        case "L":
            return 3 + sum(1 + _size(one) for one in inner)
        case "N":
            return len(inner) + 1
        case _:
            return 1


_PREVIEWS = ("promptPreview", "responsePreview")


def _shortened(row: Row, over: int) -> Row:
    """Take ``over`` bytes from the previews: from the longer down to the shorter, then from both alike."""
    texts = {name: row[name]["S"].encode() for name in _PREVIEWS if name in row}
    room = sum(map(len, texts.values())) - over
    shorter = min(texts, key=lambda name: len(texts[name]))
    allowed = dict.fromkeys(texts, room // 2)
    if len(texts[shorter]) <= room // 2:
        allowed = {name: room - len(texts[shorter]) for name in texts}
        allowed[shorter] = len(texts[shorter])
    # A character that is cut through is left out whole.
    cut = {name: {"S": text[: allowed[name]].decode("utf-8", "ignore")} for name, text in texts.items()}
    return {**row, **cut}


# ---- llm_audit/index/errors.py
# What can go wrong with an index. Standard library only (it runs inside Lambda).


class IndexUnavailableError(Exception):
    """The index could not be read or written now; the message says what came and what to do."""


class IndexMissingError(IndexUnavailableError):
    """There is no index at that place."""


class IndexDamagedError(IndexUnavailableError):
    """What is there is no index, or its file is damaged, or of a format we don't know."""


# ---- llm_audit/index/dynamodb_table.py
# One DynamoDB table through boto3. Its errors stop here and become the index's own, with advice.

_ACTION = re.compile(r"dynamodb:\w+")


@dataclass(frozen=True, slots=True)
class _Sign:
    """How DynamoDB says something, and what we say: ``{said}``, ``{table}`` and ``{permission}`` are filled in."""

    codes: tuple[str, ...]
    words: str
    error: type[IndexUnavailableError]
    advice: str


_SIGNS = (
    _Sign(
        ("ResourceNotFoundException",),
        "",
        IndexMissingError,
        "there is no DynamoDB table {table} (or one of its indexes is missing) in this region and account; "
        "set AUDIT_INDEX and AWS_REGION, or create it: `llm-audit aws deploy` does",
    ),
    _Sign(
        ("AccessDeniedException", "AccessDenied"),
        "",
        IndexUnavailableError,
        "denied: allow {permission} on the table and on its index/* to whoever runs this ({said})",
    ),
    _Sign(
        (
            "ExpiredTokenException",
            "IncompleteSignatureException",
            "InvalidSignatureException",
            "MissingAuthenticationTokenException",
            "UnrecognizedClientException",
        ),
        "",
        IndexUnavailableError,
        "AWS does not take the credentials ({said}); renew them",
    ),
    _Sign(
        (
            "LimitExceededException",
            "ProvisionedThroughputExceededException",
            "RequestLimitExceeded",
            "ThrottlingException",
        ),
        "",
        IndexUnavailableError,
        "throttled, again and again ({said}); ask for less at once, try again later, or raise the table's capacity",
    ),
    _Sign(
        ("ValidationException",),
        "backfilling",
        IndexUnavailableError,
        "one of the table's indexes is still being built ({said}); wait until its IndexStatus is ACTIVE",
    ),
    _Sign(
        ("ValidationException",),
        "specified index",
        IndexDamagedError,
        "an index is missing ({said}); create it: `llm-audit doctor` tells which, `llm-audit aws deploy` makes all",
    ),
)


class ConditionFailedError(Exception):
    """The condition of a write did not hold, and nothing was changed."""


class Table:
    """A table's calls, each raising IndexUnavailableError; may be used from several threads."""

    def __init__(self, name: str, client: DynamoDBClient) -> None:
        """Nothing is asked of the table yet."""
        self.name = name
        self._client = client

    def put(self, row: Row) -> None:
        """Write a row, whatever was in its place. No condition: see ``DynamoWriter``."""
        with own_errors(self.name, "PutItem"):
            self._client.put_item(TableName=self.name, Item=row)

    def put_batch(self, rows: list[Row]) -> list[Row]:
        """Write up to 25 rows with different keys in one request; gives those that it did not come to."""
        requests: list[Any] = [{"PutRequest": {"Item": row}} for row in rows]
        with own_errors(self.name, "BatchWriteItem"):
            answer = self._client.batch_write_item(RequestItems={self.name: requests})
        left: list[Any] = answer.get("UnprocessedItems", {}).get(self.name, [])
        return [one["PutRequest"]["Item"] for one in left]

    def delete(self, key: Row, *, condition: str, values: Row) -> None:
        """Delete a row if the condition holds; raises ConditionFailedError where it does not."""
        with own_errors(self.name, "DeleteItem"):
            self._client.delete_item(
                TableName=self.name, Key=key, ConditionExpression=condition, ExpressionAttributeValues=values
            )

    def get(self, key: Row) -> Row | None:
        """Read a row, as it is now."""
        with own_errors(self.name, "GetItem"):
            answer: dict[str, Any] = dict(
                self._client.get_item(TableName=self.name, Key=key, ConsistentRead=True)
            )
        return answer.get("Item")

    def query(self, **arguments: Any) -> dict[str, Any]:
        """Read from one partition."""
        with own_errors(self.name, "Query"):
            return dict(self._client.query(TableName=self.name, **arguments))

    def scan(self, **arguments: Any) -> dict[str, Any]:
        """Read a segment of the whole table."""
        with own_errors(self.name, "Scan"):
            return dict(self._client.scan(TableName=self.name, **arguments))

    def describe(self) -> Mapping[str, Any]:
        """Tell keys, indexes and status."""
        with own_errors(self.name, "DescribeTable"):
            return self._client.describe_table(TableName=self.name)["Table"]

    def close(self) -> None:
        """Close its connections; may be called twice."""
        self._client.close()


@contextmanager
def own_errors(table: str, action: str = "request") -> Iterator[None]:
    """Turn botocore's errors into ours, with advice."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        raise _answered(table, action, error) from error
    except (botocore.exceptions.NoCredentialsError, botocore.exceptions.PartialCredentialsError) as error:
        raise IndexUnavailableError(
            f"DynamoDB table {table}: no AWS credentials were found ({error}); set AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role gives them"
        ) from error
    except botocore.exceptions.NoRegionError as error:
        raise IndexUnavailableError(f"DynamoDB table {table}: no region is set; set AWS_REGION") from error
    except (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError) as error:
        raise IndexUnavailableError(
            f"DynamoDB table {table} does not answer ({error}); look at the network, AWS_REGION and AWS_ENDPOINT_URL"
        ) from error
    except botocore.exceptions.BotoCoreError as error:
        raise IndexUnavailableError(f"DynamoDB table {table}, {action}: {error}") from error


def _answered(table: str, action: str, error: botocore.exceptions.ClientError) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    message = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())[:300]
    where = f"DynamoDB table {table}, {action}"
    if code == "ConditionalCheckFailedException":
        return ConditionFailedError(f"{where}: {message}")
    permission = _ACTION.search(message)
    for sign in _SIGNS:
        if code in sign.codes and sign.words in message:
            advice = sign.advice.format(
                table=table, said=message, permission=permission[0] if permission else f"dynamodb:{action}"
            )
            return sign.error(f"{where}: {advice}")
    return IndexUnavailableError(f"{where}: {code or 'error'}: {message}")


# ---- llm_audit/index/dynamodb_writer.py
# Writing items into DynamoDB. Standard library and boto3 only: this is what runs inside Lambda.

WRITERS = 8
"""Requests at once for a batch: DynamoDB answers after some milliseconds, of which most are waiting."""


class DynamoWriter:
    """An ``ItemWriter`` for one table; needs ``dynamodb:PutItem`` and nothing else."""

    def __init__(self, table: Table) -> None:
        """Nothing is asked of the table yet."""
        self._table = table
        self._announced: set[str] = set()

    def put(self, items: Sequence[Item]) -> None:
        """Write items; returns when all are durable. Raises IndexUnavailableError.

        After an error some may be written: to write them again changes nothing.
        """
        self.announce(items)
        if len(items) == 1:
            self._table.put(row_of(items[0]))
        elif items:
            with ThreadPoolExecutor(WRITERS, thread_name_prefix="dynamodb") as pool:
                for _ in pool.map(self._table.put, map(row_of, items)):
                    pass

    def announce(self, items: Sequence[Item]) -> None:
        """Put the markers that must be there before these items are; each once, mostly none."""
        needed = {marker for item in items for marker in markers_of(item)} - self._announced
        for marker in sorted(needed):
            self._table.put(marker_row(marker))
            self._announced.add(marker)


# ---- llm_audit/ingest/documents.py
# From an audit object's bytes to its head: everything but the bodies, in little memory. Standard library only.

WHOLE_LIMIT = 256 * 1024
"""Objects up to this size are parsed as they are."""

KEPT_LIMIT = 2 * 1024 * 1024
"""A document whose part outside the bodies is larger is none of ours: its head has at most 256 KiB."""

TEXT_LIMIT = 256 * 1024
"""Bytes kept of a text outside the bodies: a document's whole head has no more. Items keep far less of any."""

SKIPPED = frozenset({b'"bodyText"', b'"bodyBase64"', b'"assembled"'})
"""Members of ``request`` and ``response`` whose values are left out (read as null)."""

_PARENTS = frozenset({b'"request"', b'"response"'})


@dataclass(frozen=True, slots=True)
class Head:
    """A parsed document without its bodies, the digest of the whole object as hex, and its size."""

    document: dict[str, Any]
    sha256: str
    size: int


def read_head(chunks: Iterable[bytes]) -> Head:
    """Read an object to its end and parse its head.

    Raises NotAnAuditDocumentError as soon as it is clear that the object is no JSON object, or too large to
    be ours; whatever reading the chunks raises passes through.
    """
    digest, size = hashlib.sha256(), 0

    def hashed() -> Iterator[bytes]:
        nonlocal size
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            yield chunk

    pieces = hashed()
    begin = []
    for piece in pieces:
        begin.append(piece)
        if size > WHOLE_LIMIT:
            break
    if size > WHOLE_LIMIT:
        if not b"".join(begin).lstrip(b" \t\r\n").startswith(b"{"):
            raise NotAnAuditDocumentError("the object is no JSON document (it does not begin with {)")
        skipper = BodySkipper()
        for piece in chain(begin, pieces):
            skipper.feed(piece)
        begin = [skipper.kept()]
    document = _parse(b"".join(begin))
    return Head(document, digest.hexdigest(), size)


def _parse(data: bytes) -> dict[str, Any]:
    try:
        document = _DECODER.decode(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise NotAnAuditDocumentError(f"the object is no JSON document ({error})") from None
    if not isinstance(document, dict):
        raise NotAnAuditDocumentError(f"the object is JSON, but a {type(document).__name__}, not an object")
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
"""Made once: ``json.loads`` with a hook makes one for each document."""

_TOKEN = re.compile(rb'[ \t\r\n]++|"(?:[^"\\]++|\\.)*+"|[{}\[\],:]|[^\s{}\[\],:"]++', re.DOTALL)

_LONG_TEXT = re.compile(rb'"(?:[^"\\]++|\\u[0-9A-Fa-f]{4}|\\[^u])*+', re.DOTALL)

_STRING_REST = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)

_WHOLE_TOKENS = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)

_DEPTH_STEPS = bytes.maketrans(b"{[}]", b"\x01\x01\xff\xff")

_NO_BRACKETS = bytes(set(range(256)) - set(b"{[}]"))

_WINDOW = 4096

_SHORT = 256

_BOUNDARY = re.compile(rb'["{}\[\],]')


class BodySkipper:
    """Copies a JSON document as it comes, piece by piece, and leaves the large values out.

    It follows strings, brackets and member names, and nothing else: whether the rest is JSON is for the
    parser to say. Feeding it byte by byte gives the same as feeding it whole.
    """

    def __init__(self) -> None:
        self._kept = bytearray()
        self._rest = b""
        self._brackets = bytearray()
        self._names: list[bytes] = []
        self._last_string = b""
        self._is_skipping = False
        self._skip_depth = 0
        self._in_skipped_string = False
        self._careful_until = 0

    def feed(self, piece: bytes) -> None:
        """Take the next bytes. Raises NotAnAuditDocumentError where far too much would be kept."""
        data = self._rest + piece if self._rest else piece
        position = self._careful_until = 0
        while True:
            step = self._skip if self._is_skipping else self._keep
            position, is_stuck = step(data, position)
            if is_stuck:
                break
        self._rest = data[position:]
        if len(self._kept) + len(self._rest) > KEPT_LIMIT:
            raise NotAnAuditDocumentError(
                f"the object has more than {KEPT_LIMIT} bytes outside the bodies of an audit document"
            )

    def kept(self) -> bytes:
        """Give the document without the skipped values, once everything was fed."""
        return bytes(self._kept) + self._rest

    def _keep(self, data: bytes, position: int) -> tuple[int, bool]:
        """Copy one token; stuck at the end, or at a string whose end is still to come."""
        match = _TOKEN.match(data, position)
        end = match.end() if match else len(data)
        if end - position > TEXT_LIMIT and data[position : position + 1] == b'"':
            return self._keep_beginning(data, position), False
        if match is None:
            return position, True
        token = match.group()
        self._kept += token
        first = token[:1]
        if first == b'"':
            self._last_string = token
        elif first in b"{[":
            self._brackets += first
            self._names.append(b"")
        elif first in b"}]" and self._brackets:
            self._brackets.pop()
            self._names.pop()
        elif first == b":" and self._names:
            self._names[-1] = self._last_string
            if self._is_at_large_value():
                self._kept += b"null"
                self._is_skipping, self._skip_depth = True, 0
        return match.end(), False

    def _keep_beginning(self, data: bytes, position: int) -> int:
        """Copy the first part of a long text, up to the end of a character; its rest is skipped."""
        match = _LONG_TEXT.match(data, position, position + TEXT_LIMIT)
        assert match is not None
        end = match.end()
        while data[end] & 0xC0 == 0x80:  # a byte within a UTF-8 character (RFC 3629 section 3)
            end -= 1
        self._kept += data[position:end] + b'"'
        self._last_string = b""
        self._is_skipping, self._skip_depth, self._in_skipped_string = True, 0, True
        return end

    def _is_at_large_value(self) -> bool:
        return self._brackets == b"{{" and self._names[0] in _PARENTS and self._names[1] in SKIPPED

    def _skip(self, data: bytes, position: int) -> tuple[int, bool]:
        """Pass over a part of a skipped value; stuck at the end of the data."""
        if self._in_skipped_string:
            end = _end_of_string(data, position)
            if data[end : end + 1] != b'"':
                return end, True
            self._in_skipped_string = False
            self._is_skipping = self._skip_depth > 0
            return end + 1, False
        if self._skip_depth and position >= self._careful_until:
            end = self._skip_within(data, position)
            if end > position:
                return end, False
            self._careful_until = position + _WINDOW
        boundary = _BOUNDARY.search(data, position)
        if boundary is None:
            return len(data), True
        found = boundary.group()
        if found == b'"':
            self._in_skipped_string = True
        elif found in b"{[":
            self._skip_depth += 1
        elif self._skip_depth == 0:
            self._is_skipping = False
            return boundary.start(), False
        elif found != b",":
            self._skip_depth -= 1
            self._is_skipping = self._skip_depth > 0
        return boundary.end(), False

    def _skip_within(self, data: bytes, position: int) -> int:
        """Pass over the next window of a skipped object or array at once, if its end is not in there.

        Strings are taken out, then all but the brackets, and the depth is added up; at the speed of C, since an
        assembled reply may have millions of brackets (log probabilities of every token).
        """
        whole = _WHOLE_TOKENS.match(data, position, position + _WINDOW)
        assert whole is not None
        steps = array("b", _STRING.sub(b"", whole.group()).translate(_DEPTH_STEPS, _NO_BRACKETS))
        if self._skip_depth + min(accumulate(steps), default=0) <= 0:
            return position
        self._skip_depth += sum(steps)
        return whole.end()


def _end_of_string(data: bytes, position: int) -> int:
    r"""Find the quote that ends a string, or where to wait for more: the end, or a last lone backslash.

    A body that is JSON has an escaped quote every few bytes, which costs a regular expression a step each.
    So a long one is mostly answered by taking out ``\\`` and then ``\"`` at the speed of memory: no quote left,
    no end. Pairs are taken from the left of each run of backslashes, just as a parser reads them.
    """
    short = _STRING_REST.match(data, position, position + _SHORT)
    assert short is not None
    if data[short.end() : short.end() + 1] == b'"':
        return short.end()
    rest = data[position:] if position else data
    if b'"' not in rest.replace(b"\\\\", b"").replace(b'\\"', b""):
        backslashes = len(rest) - len(rest.rstrip(b"\\"))
        return len(data) - backslashes % 2
    match = _STRING_REST.match(data, position)
    assert match is not None
    return match.end()


# ---- llm_audit/ingest/ingest.py
# The pipeline: notifications of new objects → documents → items → index. Standard library only.

logger = logging.getLogger(__name__)

WRITE_BATCH = 500
"""Items per write: large enough to pay for its sync, small enough to let other writers in between."""


@dataclass(frozen=True, slots=True)
class Notification:
    """An object was created (or is to be read again). ``key`` is decoded."""

    bucket: str
    key: str


class ObjectGoneError(Exception):
    """The object was deleted since it was notified of: nothing is left to be read, now or later."""


OpenObject = Callable[[Notification], Iterable[bytes]]
"""Opens an object as pieces of bytes. What raises ObjectGoneError is skipped; whatever else it raises counts as an
error of that object alone."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Objects that did not become items, and why, in words that hold nothing of their content."""

    outcome: Literal["skipped", "failed"]
    notifications: tuple[Notification, ...]
    reason: str


Report = Callable[[Trouble], None]
"""Is told of each trouble as it comes, perhaps in several threads."""


def log_trouble(trouble: Trouble) -> None:
    """Say it through ``logging``: what runs on one machine has no other way."""
    level = logging.WARNING if trouble.outcome == "skipped" else logging.ERROR
    if len(trouble.notifications) == 1:
        (one,) = trouble.notifications
        logger.log(level, "%s %a in %s: %s", trouble.outcome, one.key, one.bucket, trouble.reason)
    else:
        logger.log(level, "%s %d objects: %s", trouble.outcome, len(trouble.notifications), trouble.reason)


class ItemWriter(Protocol):
    """What ingestion needs of an index."""

    def put(self, items: Sequence[Item]) -> None:
        """Write a batch, wholly or not at all; writing an item twice changes nothing."""


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of a batch. ``processed`` = ``written`` + ``skipped`` + ``errors``."""

    written: int = 0
    skipped: int = 0
    failed: tuple[Notification, ...] = ()
    """Those that must be delivered again: the object could not be read, or the index did not take it."""

    @property
    def errors(self) -> int:
        """How many must be delivered again."""
        return len(self.failed)

    @property
    def processed(self) -> int:
        """How many were looked at: all."""
        return self.written + self.skipped + self.errors

    def as_dict(self) -> dict[str, int]:
        """Give the answer of the contract."""
        return {
            "processed": self.processed,
            "written": self.written,
            "skipped": self.skipped,
            "errors": self.errors,
        }


def ingest(
    notifications: Iterable[Notification],
    open_object: OpenObject,
    index: ItemWriter,
    settings: ItemSettings | None = None,
    *,
    batch_size: int = WRITE_BATCH,
    readers: int = 1,
    report: Report = log_trouble,
) -> IngestResult:
    """Work through all notifications, whatever happens to single ones; never raises for one of them.

    What is no audit document, or gone, is skipped and reported; what could not be read or written is reported and
    in ``failed``, and the caller sees to it that it comes again. ``readers`` threads read objects at once: a bucket answers
    after milliseconds, so one alone would read a hundred a second; ``open_object`` is then called in threads.
    """
    written, skipped = 0, 0
    failed: list[Notification] = []
    for batch in read_objects(
        notifications, open_object, settings, batch_size=batch_size, readers=readers, report=report
    ):
        skipped += batch.skipped
        failed += batch.failed
        if _put(index, batch, report):
            written += len(batch.items)
        else:
            failed += batch.read
    return IngestResult(written, skipped, tuple(failed))


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """Some objects, read: ``read`` were those whose ``items`` came out, in the same order."""

    read: tuple[Notification, ...]
    items: tuple[Item, ...]
    skipped: int
    failed: tuple[Notification, ...]


def read_objects(
    notifications: Iterable[Notification],
    open_object: OpenObject,
    settings: ItemSettings | None = None,
    *,
    batch_size: int = WRITE_BATCH,
    readers: int = 1,
    report: Report = log_trouble,
) -> Iterator[ReadBatch]:
    """Read objects batch by batch, several at once; raises only what going through ``notifications`` raises."""
    read = partial(_read, open_object=open_object, settings=settings, report=report)
    source = iter(notifications)
    with ThreadPoolExecutor(readers, thread_name_prefix="ingest") as pool:
        # Threads start when work is first given to them: one reader needs none.
        several = pool.map if readers > 1 else map
        while batch := list(islice(source, batch_size)):
            outcomes = list(zip(batch, several(read, batch), strict=True))
            found = [(one, outcome) for one, outcome in outcomes if isinstance(outcome, Item)]
            yield ReadBatch(
                read=tuple(one for one, _ in found),
                items=tuple(item for _, item in found),
                skipped=sum(outcome is _Unusable.SKIPPED for _, outcome in outcomes),
                failed=tuple(one for one, outcome in outcomes if outcome is _Unusable.FAILED),
            )


class _Unusable(Enum):
    SKIPPED = "no audit document"
    FAILED = "could not be read"


def _read(
    notification: Notification, *, open_object: OpenObject, settings: ItemSettings | None, report: Report
) -> Item | _Unusable:
    key, bucket = notification.key, notification.bucket
    try:
        head = read_head(open_object(notification))
        return item_from_document(head.document, bucket, key, head.sha256, settings)
    except (NotAnAuditDocumentError, ObjectGoneError) as error:
        report(Trouble("skipped", (notification,), str(error)))
        return _Unusable.SKIPPED
    except Exception as error:  # noqa: BLE001 - one object that cannot be read must not stop the others
        report(Trouble("failed", (notification,), f"it cannot be read: {error}"))
        return _Unusable.FAILED


def _put(index: ItemWriter, batch: ReadBatch, report: Report) -> bool:
    try:
        if batch.items:
            index.put(batch.items)
    except Exception as error:  # noqa: BLE001 - the rest of the event is still worked through
        report(Trouble("failed", batch.read, f"the index did not take it: {error}"))
        return False
    return True


# ---- llm_audit/ingest/aws_objects.py
# S3 as the function needs it: one read, one copy. Standard library and botocore.

CHUNK = 256 * 1024
"""Bytes read at once."""


class ObjectUnreadableError(Exception):
    """The object is (or may be) there and could not be read or copied: try again, or mend what the message names."""


class S3Client(Protocol):
    """What is used of botocore's client."""

    def get_object(self, *, Bucket: str, Key: str) -> Any:  # noqa: N803 - AWS's names
        """Open an object."""

    def copy_object(self, **parameters: Any) -> Any:
        """Copy an object within S3."""


class AuditObjects:
    """The objects of every bucket that events name."""

    def __init__(self, client: S3Client) -> None:
        self._client = client

    def open(self, notification: Notification) -> Iterator[bytes]:
        """Give an object's bytes, in pieces. Raises ObjectGoneError, ObjectUnreadableError.

        Of a versioned bucket the newest version is read: whatever the order of events, the last word is the same.
        """
        try:
            answer = self._client.get_object(Bucket=notification.bucket, Key=notification.key)
            with closing(answer["Body"]) as body:
                yield from body.iter_chunks(CHUNK)
        except ClientError as error:
            if _code(error) == "NoSuchKey":
                raise ObjectGoneError("it is no longer there (404 NoSuchKey)") from None
            raise ObjectUnreadableError(_sentence(error)) from None
        except (BotoCoreError, OSError) as error:
            raise ObjectUnreadableError(f"reading broke off ({type(error).__name__})") from None


class RawArchive:
    """The bucket that keeps a second copy of every document, under the same key.

    S3 copies by itself: no byte passes through the function. The copy is made only where there is none yet
    (``If-None-Match``), so that a repeated event adds no version; it belongs to the bucket's owner, as the role's
    policy demands. The header is set by hand, since the runtime's botocore may not know the parameter yet.
    """

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self.bucket = bucket

    def copy(self, bucket: str, key: str) -> None:
        """Copy one object. Raises ObjectUnreadableError."""
        try:
            self._client.copy_object(
                Bucket=self.bucket,
                Key=key,
                CopySource={"Bucket": bucket, "Key": key},
                ACL="bucket-owner-full-control",
                TaggingDirective="REPLACE",  # else the source's tags are read, which takes a permission more
            )
        except ClientError as error:
            if _code(error) not in ("PreconditionFailed", "412"):
                raise ObjectUnreadableError(f"no copy in {self.bucket}: {_sentence(error)}") from None
        except (BotoCoreError, OSError) as error:
            raise ObjectUnreadableError(f"no copy in {self.bucket} ({type(error).__name__})") from None


def copy_only_where_there_is_none(params: dict[str, Any], **_: Any) -> None:
    """Make CopyObject conditional; a handler of botocore's event ``before-call.s3.CopyObject``."""
    params["headers"]["If-None-Match"] = "*"


class ThenTold:
    """A table, and what else happens with each item that it took: in this order, or the item comes again."""

    def __init__(self, table: ItemWriter, archive: RawArchive | None, told: Callable[[Item], None]) -> None:
        self._table = table
        self._archive = archive
        self._told = told

    def put(self, items: Sequence[Item]) -> None:
        """Write items; copy their objects; tell of them. Raises IndexUnavailableError, ObjectUnreadableError."""
        for item in items:
            self._table.put((item,))
            if self._archive is not None:
                self._archive.copy(item.audit_bucket, item.audit_object_key)
            self._told(item)


_ADVICE = {
    (
        "GetObject",
        "AccessDenied",
    ): "either the role lacks s3:GetObject on this key (or kms:Decrypt on its key), or the "
    "object is gone and the role lacks s3:ListBucket on the bucket, without which S3 answers 403 in place of 404",
    ("GetObject", "403"): "the role needs s3:GetObject on this key and s3:ListBucket on the bucket",
    ("GetObject", "InvalidObjectState"): "it is archived (Glacier): restore it, then redrive the event",
    ("GetObject", "NoSuchBucket"): "the bucket is not there: look at the function's region and account",
    ("CopyObject", "AccessDenied"): "the role needs s3:PutObject there, and s3:GetObject on the audit bucket",
}


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def _sentence(error: ClientError) -> str:
    """Say what a service answered, by its code: its message may quote what was sent."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "no status")
    request = error.response.get("ResponseMetadata", {}).get("RequestId", "unknown")
    advice = _ADVICE.get((error.operation_name, _code(error)))
    said = f"{error.operation_name} answered {status} {_code(error)} (AWS request {request})"
    return said if advice is None else f"{said}: {advice}"


# ---- llm_audit/ingest/events.py
# What an event says: which objects are new. Pure, standard library only.

NESTING_LIMIT = 4
"""Envelopes within envelopes that are opened: SQS, SNS and S3 make three."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one record of an event brings, or one SQS message: it succeeds or comes again as a whole."""

    message_id: str | None = None
    """The SQS message that brought it."""
    named: tuple[Notification, ...] = ()
    ignored: tuple[str, ...] = ()
    """Why parts of it name no new object, in words."""
    problems: tuple[str, ...] = ()
    """Why parts of it could not be understood."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event, understood. A batch from a queue is answered message by message."""

    is_queue_batch: bool
    deliveries: tuple[Delivery, ...]


def read_event(event: Any) -> Event:
    """Tell what an event names; never raises, whatever the event is."""
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list):
        return Event(is_queue_batch=False, deliveries=(_of_payload(event, NESTING_LIMIT),))
    is_queue_batch = any(_source(record) == "aws:sqs" for record in records)
    return Event(is_queue_batch, tuple(_of_record(record, NESTING_LIMIT) for record in records))


def _source(record: Any) -> Any:
    """Give which service a record is of; SNS spells the member with a capital."""
    return (record.get("eventSource") or record.get("EventSource")) if isinstance(record, dict) else None


def _of_record(record: Any, depth: int) -> Delivery:
    match _source(record):
        case "aws:s3":
            return _of_s3_record(record)
        case "aws:sqs":
            found = _of_text(record.get("body"), depth - 1)
            message_id = record.get("messageId")
            return Delivery(str(message_id), found.named, found.ignored, found.problems)
        case "aws:sns":
            return _of_text(_member(record, "Sns", "Message"), depth - 1)
        case None:
            return Delivery(problems=("a record that does not say which service it is of (eventSource)",))
        case other:
            return Delivery(ignored=(f"a record of {ascii(other)[:80]}, not of S3",))


def _of_text(text: Any, depth: int) -> Delivery:
    """Read a message: JSON of any other shape."""
    if depth <= 0:
        return Delivery(problems=(f"more than {NESTING_LIMIT} envelopes, one in another",))
    try:
        payload = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return Delivery(problems=("a message that is no JSON, expected an S3 notification",))
    return _of_payload(payload, depth)


def _of_payload(payload: Any, depth: int) -> Delivery:
    match payload:
        case {"Records": list(records)}:
            return _joined(_of_record(record, depth) for record in records)
        case {"Event": "s3:TestEvent"}:
            return Delivery(ignored=("s3:TestEvent, which S3 sends when a notification is set up",))
        case {"source": str(source), "detail-type": str(kind_of_event)}:
            return _of_eventbridge(payload, source, kind_of_event)
        case {"Type": "Notification", "Message": text}:
            return _of_text(text, depth - 1)
        case {"requestPayload": inner} if depth > 0:
            return _of_payload(inner, depth - 1)
    unknown = "an event of unknown shape, expected one of S3, SQS, SNS or EventBridge"
    return Delivery() if payload == {} else Delivery(problems=(unknown,))


def _joined(parts: Iterable[Delivery]) -> Delivery:
    """Make one delivery of several: a message may carry more than one record."""
    found = list(parts)
    return Delivery(
        named=tuple(one for part in found for one in part.named),
        ignored=tuple(one for part in found for one in part.ignored),
        problems=tuple(one for part in found for one in part.problems),
    )


def _of_s3_record(record: Mapping[str, Any]) -> Delivery:
    name = record.get("eventName")
    if isinstance(name, str) and not name.removeprefix("s3:").startswith("ObjectCreated"):
        return Delivery(ignored=(f"{ascii(name)[:80]}, which creates no object",))
    bucket, key = _member(record, "s3", "bucket", "name"), _member(record, "s3", "object", "key")
    if isinstance(key, str):
        try:
            key = unquote_plus(key, errors="strict")
        except UnicodeDecodeError:
            return Delivery(problems=("an S3 record whose key is not UTF-8 after URL decoding",))
    return _naming(bucket, key)


def _of_eventbridge(event: Mapping[str, Any], source: str, kind_of_event: str) -> Delivery:
    if (source, kind_of_event) != ("aws.s3", "Object Created"):
        return Delivery(ignored=(f"{ascii(kind_of_event)[:80]} of {ascii(source)[:80]}",))
    return _naming(_member(event, "detail", "bucket", "name"), _member(event, "detail", "object", "key"))


def _naming(bucket: Any, key: Any) -> Delivery:
    if isinstance(bucket, str) and isinstance(key, str) and bucket and key:
        return Delivery(named=(Notification(bucket, key),))
    return Delivery(problems=("a record of S3 without bucket name and object key",))


def _member(value: Any, *path: str) -> Any:
    """Follow member names as far as they lead; None where they lead nowhere."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


# ---- llm_audit/ingest/lambda_settings.py
# The function's environment: what it may say, what holds where it says nothing. Pure.

TABLE_NAME = "CentralLLMAudit"

PREVIEW_CHARACTERS_LIMIT = 400_000
"""An item has at most 400 KB: no preview can be longer, and previews that are too long together are cut to fit."""

STATUS_SHARDS_LIMIT = 1000

RETENTION_DAYS_LIMIT = 36_500

_TABLE = re.compile(
    r"[A-Za-z0-9_.-]{3,255}|arn:[a-z-]+:dynamodb:[a-z0-9-]+:\d{12}:table/[A-Za-z0-9_.-]{3,255}"
)

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class LambdaSettingsError(ValueError):
    """A variable says what it may not; the message names it, what came, and what is allowed."""


@dataclass(frozen=True, slots=True)
class LambdaSettings:
    """What the function was told."""

    table: str
    archive_bucket: str | None
    items: ItemSettings


def lambda_settings(environment: Mapping[str, str]) -> LambdaSettings:
    """Read the environment; an empty value counts as none. Raises LambdaSettingsError."""
    characters = _number(environment, "MAX_PREVIEW_CHARS", 0, PREVIEW_CHARACTERS_LIMIT)
    return LambdaSettings(
        table=_name(environment, "TABLE_NAME", _TABLE, "a table's name or ARN") or TABLE_NAME,
        archive_bucket=_name(environment, "RAW_ARCHIVE_BUCKET", _BUCKET, "a bucket's name"),
        items=ItemSettings(
            preview_characters=PREVIEW_CHARACTERS if characters is None else characters,
            status_shards=_number(environment, "STATUS_SHARDS", 1, STATUS_SHARDS_LIMIT) or 1,
            retention_days=_number(environment, "RETENTION_DAYS", 1, RETENTION_DAYS_LIMIT),
        ),
    )


def _name(environment: Mapping[str, str], variable: str, allowed: re.Pattern[str], what: str) -> str | None:
    value = environment.get(variable) or None
    if value is not None and not allowed.fullmatch(value):
        raise LambdaSettingsError(f"{variable} is {value[:80]!a}, expected {what}")
    return value


def _number(environment: Mapping[str, str], variable: str, least: int, most: int) -> int | None:
    value = environment.get(variable)
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= most):
        raise LambdaSettingsError(
            f"{variable} is {value[:80]!a}, expected a whole number from {least} to {most}"
        )
    return int(value)


# ---- llm_audit/ingest/reports.py
# What the function says of itself: JSON lines, and metrics as CloudWatch reads them out of a log. Pure.

NAMESPACE = "CentralLLMAudit"

COUNTS = ("processed", "written", "skipped", "errors")
"""The function's answer; as metrics they are called ``IngestProcessed`` and so on."""

_AGE = "IngestAgeMs"
"""Milliseconds from the end of a call to its item in the table."""

AGES_PER_LINE = 100
"""Values that one metric may have in one line."""

_KEY_CHARACTERS = 1024


def trouble_line(
    outcome: str, reason: str, request_id: str | None, bucket: str | None = None, key: str | None = None
) -> str:
    """Give the line for one object (or one part of an event, without key) that did not become an item."""
    return _line(
        {
            "level": "WARNING" if outcome == "skipped" else "ERROR",
            "message": outcome,
            "reason": reason,
            "bucket": bucket,
            "key": None if key is None else key[:_KEY_CHARACTERS],
            "requestId": request_id,
        }
    )


def summary_lines(
    counts: Mapping[str, int], ages_ms: Sequence[int], function: str, at_ms: int, details: Mapping[str, Any]
) -> list[str]:
    """Give the line of one invocation, and more of them only where it wrote more than a hundred items.

    ``counts`` is the answer (``processed``, ``written``, ``skipped``, ``errors``); ``at_ms`` the wall clock.
    """
    values: dict[str, Any] = {f"Ingest{name.capitalize()}": counts[name] for name in COUNTS}
    first, rest = list(ages_ms[:AGES_PER_LINE]), ages_ms[AGES_PER_LINE:]
    if first:
        values[_AGE] = first
    level = "ERROR" if counts["errors"] else "INFO"
    further = (list(rest[start : start + AGES_PER_LINE]) for start in range(0, len(rest), AGES_PER_LINE))
    return [
        _metrics(values, function, at_ms, {"level": level, "message": "ingested", **details}),
        *(_metrics({_AGE: ages}, function, at_ms, {}) for ages in further),
    ]


def _metrics(values: Mapping[str, Any], function: str, at_ms: int, details: Mapping[str, Any]) -> str:
    metrics = [{"Name": name, "Unit": "Milliseconds" if name == _AGE else "Count"} for name in values]
    directive = {"Namespace": NAMESPACE, "Dimensions": [["FunctionName"]], "Metrics": metrics}
    return _line(
        {
            "_aws": {"Timestamp": at_ms, "CloudWatchMetrics": [directive]},
            "FunctionName": function,
            **values,
            **details,
        }
    )


def _line(members: Mapping[str, Any]) -> str:
    """Give one line of ASCII without control characters, whatever a key holds."""
    return json.dumps(
        {name: value for name, value in members.items() if value is not None}, separators=(",", ":")
    )


# ---- llm_audit/ingest/handler.py
# The ingestion Lambda: an event → its objects → items. ``lambda_handler`` is what AWS calls.

CLIENT_OPTIONS: dict[str, Any] = {
    "connect_timeout": 3,
    "read_timeout": 20,
    "retries": {"mode": "adaptive", "total_max_attempts": 5},
    "tcp_keepalive": True,
    "user_agent_extra": "llm-audit-ingest",
}
"""Adaptive: whoever is throttled backs off with jitter and slows down (botocore's guide, "Retries"). Five attempts
wait some 15 s at most, which leaves time of the function's 60 s for the rest of the event."""

RESERVE_MS = 3000
"""Once so little is left of the function's time, objects but the first are given back unread: a batch that takes
too long for one invocation is done in several, where a time-out would fail all of it each time."""


class IngestFailedError(Exception):
    """Some of an event could not be ingested: it must come again. The log names each object and why."""


class OutOfTimeError(Exception):
    """The function's time is nearly over; the object was not looked at."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the service says of one call of the function."""

    request_id: str | None
    remaining_ms: Callable[[], int]

    @classmethod
    def of(cls, context: Any) -> Invocation:
        """Read Lambda's context object; a call by hand may come without one."""
        remaining = getattr(context, "get_remaining_time_in_millis", None)
        return cls(getattr(context, "aws_request_id", None), remaining or (lambda: sys.maxsize))


class Function:
    """The function with its clients, made once and used for every event that this process gets."""

    def __init__(self, settings: LambdaSettings, s3: Any, dynamodb: Any, name: str) -> None:
        self.items = settings.items
        self.objects = AuditObjects(s3)
        self.archive = RawArchive(s3, settings.archive_bucket) if settings.archive_bucket else None
        self.table = DynamoWriter(Table(settings.table, dynamodb))
        self.name = name

    def handle(self, event: Any, invocation: Invocation, say: Callable[[str], object]) -> dict[str, Any]:
        """Work through an event and give the answer. Raises IngestFailedError; ``say`` gets the log's lines."""
        understood = read_event(event)
        run = _Run(self, invocation, say)
        results = [run.deliver(one) for one in understood.deliveries]
        counts = {name: sum(result[name] for result in results) for name in COUNTS}
        details = {"requestId": invocation.request_id, "queueMessages": _messages(understood)}
        for line in summary_lines(counts, run.ages_ms, self.name, _now_ms(), details):
            say(line)
        if understood.is_queue_batch:
            pairs = zip(understood.deliveries, results, strict=True)
            failed = [delivery.message_id for delivery, result in pairs if result["errors"]]
            return {**counts, "batchItemFailures": [{"itemIdentifier": one} for one in failed]}
        if counts["errors"]:
            raise IngestFailedError(
                f"{counts['errors']} of {counts['processed']} could not be ingested, each named in the log "
                f"(level ERROR); {counts['written']} written. The event must come again; it changes nothing twice"
            )
        return counts


class _Run:
    """One invocation: what is counted, timed and said while an event is worked through."""

    def __init__(self, function: Function, invocation: Invocation, say: Callable[[str], object]) -> None:
        self._function = function
        self._invocation = invocation
        self._say = say
        self._has_begun = False
        self.ages_ms: list[int] = []

    def deliver(self, delivery: Delivery) -> dict[str, int]:
        """Ingest what one message (or one record) names, and count it."""
        function = self._function
        writer = ThenTold(function.table, function.archive, lambda item: self.ages_ms.append(_age_ms(item)))
        result = ingest(delivery.named, self._open, writer, function.items, batch_size=1, report=self._report)
        for outcome, reasons in (("skipped", delivery.ignored), ("failed", delivery.problems)):
            for reason in reasons:
                self._say(trouble_line(outcome, reason, self._invocation.request_id))
        return {
            "processed": result.processed + len(delivery.ignored) + len(delivery.problems),
            "written": result.written,
            "skipped": result.skipped + len(delivery.ignored),
            "errors": result.errors + len(delivery.problems),
        }

    def _open(self, notification: Notification) -> Iterator[bytes]:
        if self._has_begun and self._invocation.remaining_ms() < RESERVE_MS:
            raise OutOfTimeError("the function's time is over; a longer time-out or more memory helps")
        self._has_begun = True
        archive = self._function.archive
        if archive is not None and notification.bucket == archive.bucket:
            raise ObjectGoneError("it is a copy in the raw archive; the original is what counts")
        return self._function.objects.open(notification)

    def _report(self, trouble: Trouble) -> None:
        request_id = self._invocation.request_id
        for one in trouble.notifications:
            self._say(trouble_line(trouble.outcome, trouble.reason, request_id, one.bucket, one.key))


def _messages(event: Event) -> int | None:
    return len(event.deliveries) if event.is_queue_batch else None


def _age_ms(item: Item) -> int:
    """Give how long ago the call ended; never less than nothing, whatever the clocks say."""
    return max(0, _now_ms() - ms_from_iso(item.started_at) - item.latency_ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def function_from(environment: Mapping[str, str]) -> Function:
    """Make the function as its environment says. Raises LambdaSettingsError."""
    settings = lambda_settings(environment)
    session = botocore.session.get_session()
    region = environment.get("AWS_REGION") or None  # botocore itself looks at AWS_DEFAULT_REGION alone
    # Another endpoint than Amazon's (a VPC endpoint, a local AWS) may have no name for each bucket.
    has_own_endpoint = any(environment.get(name) for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"))
    s3_options = Config(**CLIENT_OPTIONS, s3={"addressing_style": "path" if has_own_endpoint else "auto"})
    s3 = session.create_client("s3", region_name=region, config=s3_options)
    s3.meta.events.register("before-call.s3.CopyObject", copy_only_where_there_is_none)
    dynamodb = session.create_client("dynamodb", region_name=region, config=Config(**CLIENT_OPTIONS))
    return Function(settings, s3, dynamodb, environment.get("AWS_LAMBDA_FUNCTION_NAME", "llm-audit-ingest"))


_FUNCTIONS: list[Function] = []


def _function() -> Function:
    if not _FUNCTIONS:
        _FUNCTIONS.append(function_from(os.environ))
    return _FUNCTIONS[0]


def lambda_handler(event: Any, context: Any = None) -> dict[str, Any]:
    """Ingest what ``event`` names; see the module. Raises IngestFailedError, LambdaSettingsError."""
    return _function().handle(event, Invocation.of(context), print)


if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    # In Lambda, importing this is the init phase, which has a whole processor however small the function's memory
    # is. Clients are made there, once, and keep their connections; wrong settings stop the deployment at once.
    _function()
