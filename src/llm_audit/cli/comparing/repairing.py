"""The index that a repair writes into, and the shape of what it writes: as whoever fills it would."""

from __future__ import annotations

import os

from llm_audit.cli.indexes import open_dynamodb
from llm_audit.cli.settings import SettingError, Settings
from llm_audit.index.index import Index
from llm_audit.index.schema import ItemSettings
from llm_audit.index.selection import Selection
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.ingest.lambda_settings import LambdaSettingsError, lambda_settings


def item_settings(settings: Settings) -> ItemSettings:
    """Give what shapes items: the shipper's with SQLite, with DynamoDB the Lambda's, from the same variables.

    Raises SettingError for a variable that says what it may not.
    """
    if settings.index == "sqlite":
        return ItemSettings()
    try:
        return lambda_settings(os.environ).items
    except LambdaSettingsError as error:
        raise SettingError(str(error)) from None


def open_for_repair(settings: Settings, items: ItemSettings) -> Index:
    """Open the index for writing. Raises IndexUnavailableError; SettingError where items would get another shape."""
    if settings.index == "sqlite":
        return SqliteIndex(settings.index_path)
    index = open_dynamodb(settings)
    try:
        _require_same_shape(index, items)
    except BaseException:
        index.close()
        raise
    return index


def _require_same_shape(index: Index, items: ItemSettings) -> None:
    """Refuse to write items without what the Lambda gives its own: without their expiry they would stay for ever."""
    for newest in index.query(Selection(), limit=1).items:
        for is_there, is_given, variable in (
            (newest.expires_at is not None, items.retention_days is not None, "RETENTION_DAYS"),
            (newest.status_shard is not None, items.status_shards > 1, "STATUS_SHARDS"),
        ):
            if is_there and not is_given:
                raise SettingError(
                    f"the table's newest item was written with {variable}, which is not set here: set it as the "
                    "ingestion Lambda has it"
                )
