"""From the setting ``AUDIT_INDEX`` to an index: the one place that knows which backends there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from llm_audit.cli.settings import SettingError, Settings
from llm_audit.index.dynamodb_shape import faults
from llm_audit.index.index import Index, IndexReader
from llm_audit.index.schema import Item, ItemSettings
from llm_audit.index.selection import Selection
from llm_audit.index.sqlite import SqliteIndex, SqliteReader
from llm_audit.ingest.lambda_settings import LambdaSettingsError, lambda_settings
from llm_audit.store.aws import is_loopback

if TYPE_CHECKING:
    from llm_audit.index.dynamodb import DynamoIndex
    from llm_audit.index.dynamodb_rebuild import DynamoRebuild


def open_index(settings: Settings) -> IndexReader:
    """Open the index for reading; raises IndexUnavailableError, SettingError."""
    if settings.index == "sqlite":
        return SqliteReader(settings.index_path)
    return open_dynamodb(settings)


def open_dynamodb(settings: Settings) -> DynamoIndex:
    """Open the table that the settings name; makes no request. Raises IndexUnavailableError, SettingError."""
    try:
        # Only here: on one machine nobody needs boto3, and it takes longer to import than everything else.
        from llm_audit.index.dynamodb import DynamoIndex  # noqa: PLC0415 - see above
        from llm_audit.index.dynamodb_table import Table, client  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        if error.name not in ("boto3", "botocore"):
            raise
        raise SettingError(
            f"AUDIT_INDEX={settings.index} needs boto3, which is not installed: "
            "run `pip install 'central-llm-audit[aws]'`, or read the embedded index with --index sqlite"
        ) from None
    endpoint = os.environ.get("AWS_ENDPOINT_URL_DYNAMODB") or settings.aws_endpoint_url
    if endpoint:
        _require_private(endpoint)
    return DynamoIndex(
        Table(settings.index.removeprefix("dynamodb://"), client(settings.aws_region, endpoint))
    )


def open_for_writing(settings: Settings, items: ItemSettings) -> Index:
    """Open the index for writing single items. Raises IndexUnavailableError, SettingError (see ``require_same_shape``)."""
    if settings.index == "sqlite":
        return SqliteIndex(settings.index_path)
    index = open_dynamodb(settings)
    try:
        require_same_shape(index, items)
    except BaseException:
        index.close()
        raise
    return index


def item_settings(settings: Settings) -> ItemSettings:
    """Give what shapes items: the shipper's with SQLite; with DynamoDB the Lambda's, from the same variables.

    Raises SettingError for a variable that says what it may not.
    """
    if settings.index == "sqlite":
        return ItemSettings()
    try:
        return lambda_settings(os.environ).items
    except LambdaSettingsError as error:
        raise SettingError(str(error)) from None


def require_same_shape(index: IndexReader, items: ItemSettings) -> None:
    """Refuse to write items of another shape than the Lambda's: without their expiry they would stay for ever."""
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


def table_faults(settings: Settings) -> list[str]:
    """Name what keeps the table that the settings name from being an index. Raises as ``open_dynamodb`` does."""
    index = open_dynamodb(settings)
    try:
        return list(faults(index.table.describe()))
    finally:
        index.close()


def dynamodb_rebuild(
    settings: Settings, index: DynamoIndex, bucket: str, reread: Callable[[str], Item | None], *, is_new: bool
) -> DynamoRebuild:
    """Begin, or go on with, building a table anew; its memory is a file in the data dir."""
    from llm_audit.index.dynamodb_rebuild import DynamoRebuild  # noqa: PLC0415 - see above

    memory = settings.data_dir / "reindex" / f"{index.table.name}.sqlite3"
    return DynamoRebuild(index.table, memory, bucket, settings.prefix, reread, is_new=is_new)


def _require_private(endpoint: str) -> None:
    """Refuse to send previews in clear over a network, as the store refuses records."""
    parts = urlsplit(endpoint)
    allowed = os.environ.get("AWS_ALLOW_HTTP", "").lower() in {"1", "true"}
    if parts.scheme == "http" and not (allowed or is_loopback(parts.hostname or "")):
        raise SettingError(
            f"DynamoDB endpoint {endpoint} is not encrypted and not on this machine: use https, or set "
            "AWS_ALLOW_HTTP=true where the network between is trusted"
        )
