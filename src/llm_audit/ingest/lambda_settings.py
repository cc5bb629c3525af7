"""The function's environment: what it may say, what holds where it says nothing. Pure.

====================  ===================  ==============================================================
variable              default              meaning
====================  ===================  ==============================================================
TABLE_NAME            ``CentralLLMAudit``  the table that items are written to
MAX_PREVIEW_CHARS     2048                 characters kept of ``promptPreview`` and ``responsePreview``
RAW_ARCHIVE_BUCKET    none                 bucket that gets a copy of every document, under the same key
STATUS_SHARDS         1                    partitions that one status is spread over
RETENTION_DAYS        none                 days after which DynamoDB may drop an item (``expiresAt``)
====================  ===================  ==============================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from llm_audit.index.schema import PREVIEW_CHARACTERS, ItemSettings

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
