"""From the setting ``AUDIT_BUCKET`` to a store."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from llm_audit.store.aws import find_settings
from llm_audit.store.folder import open_folder
from llm_audit.store.objects import ObjectStore, StoreSettingsError
from llm_audit.store.s3 import S3Objects

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)


def open_store(
    bucket: str,
    *,
    region: str | None = None,
    endpoint_url: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> ObjectStore:
    """Open ``s3://bucket``, a bare bucket name, ``file:///folder`` or a path (anything with a slash or a dot first).

    Makes no request and no folder. Raises StoreSettingsError, whose message says what is allowed.
    """
    if bucket.startswith("file://"):
        parts = urlsplit(bucket)
        if parts.netloc not in {"", "localhost"} or not parts.path:
            raise StoreSettingsError(f"{bucket!r} names no folder of this machine: expected file:///folder")
        return open_folder(Path(unquote(parts.path)))
    if bucket.startswith(("/", "./", "../", "~")):
        return open_folder(Path(bucket).expanduser())
    name = bucket.removeprefix("s3://").rstrip("/")
    if not _BUCKET.fullmatch(name):
        raise StoreSettingsError(
            f"{bucket!r} is no store: expected a bucket name, s3://bucket, file:///folder or a path (a prefix inside "
            "the bucket goes to AUDIT_PREFIX)"
        )
    found = find_settings(
        os.environ if environ is None else environ, region=region, endpoint_url=endpoint_url
    )
    return S3Objects(name, found)
