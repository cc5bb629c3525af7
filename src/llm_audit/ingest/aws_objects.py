"""S3 as the function needs it: one read, one copy. Standard library and botocore.

A vendor's error stops here and becomes a sentence of ours, with its code and what to do. Transient errors are
retried by botocore, then by the service that invokes the function, and at last the event is a dead letter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from llm_audit.index.schema import Item
from llm_audit.ingest.ingest import ItemWriter, Notification, ObjectGoneError

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
