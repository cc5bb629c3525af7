"""Objects in S3 or anything that speaks its protocol, through obstore (Rust's object_store).

A put is conditional (``If-None-Match: *``), in one piece and checksummed with SHA-256, so that S3 refuses bytes
that changed on the way. obstore's own retries are off: whoever calls knows better how long to wait.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from llm_audit.store.aws import S3Settings
from llm_audit.store.credentials import find_signer
from llm_audit.store.keys import check_key
from llm_audit.store.objects import (
    ObjectEntry,
    ObjectMissingError,
    ObjectRefusedError,
    Put,
    StoreDeniedError,
    StoreError,
    StoreSettingsError,
    StoreUnavailableError,
)
from llm_audit.store.s3_puts import S3Puts

_LONG = 900.0
_TIMEOUTS = ((1 << 20, 30.0), (32 << 20, 180.0))
"""Bytes up to which a put may take so many seconds, at 35 and 180 KB/s; anything larger, a quarter of an hour.

obstore has one limit per client, so there is one client per class.
"""

_OF_THIS_OBJECT = re.compile(
    r"\b413 Payload|<Code>(?:EntityTooLarge|KeyTooLong\w*|MaxMessageLengthExceeded)<"
)
"""How a store says that it will never take this object, whatever state it is in."""

_SETTINGS_SIGNS = (
    (re.compile(r"<Code>NoSuchBucket<"), "create the bucket, or correct AUDIT_BUCKET"),
    (
        re.compile(r"<Code>AuthorizationHeaderMalformed<|incorrectly configured region"),
        "set AWS_REGION to the bucket's region",
    ),
    (re.compile(r"<Code>(?:ExpiredToken|InvalidToken|TokenRefreshRequired)<"), "renew the credentials"),
    (
        re.compile(r"/latest/(?:api/token|meta-data)\b"),
        "no AWS credentials were found, and no instance role: set AWS_ACCESS_KEY_ID or AWS_PROFILE",
    ),
)
"""What only a change of settings mends, told by the answer's text: obstore gives a general error."""


class S3Objects:
    """An ``ObjectStore`` in an S3 bucket."""

    def __init__(self, bucket: str, settings: S3Settings, *, time_scale: float = 1.0) -> None:
        """Open the bucket; no request is made. ``time_scale`` stretches or shrinks every time limit."""
        # obstore's own threads do sockets and nothing else: one does 3,000 puts a second with ease, and several
        # would only wake each other (12 µs a put). Read once, when the first request of the process is made.
        os.environ.setdefault("TOKIO_WORKER_THREADS", "1")
        self._bucket = bucket
        self._settings = settings
        self._time_scale = time_scale
        self._classes = [
            (limit, _client(bucket, settings, timeout * time_scale)) for limit, timeout in _TIMEOUTS
        ]
        self._large = _client(bucket, settings, _LONG * time_scale)

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self._bucket

    def put_new(self, key: str, data: bytes) -> Put:
        """See ``ObjectStore.put_new``."""
        client = next((client for limit, client in self._classes if len(data) <= limit), self._large)
        try:
            obstore.put(client, _checked(key), data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return Put.EXISTS
        except (BaseError, OSError, ValueError) as error:
            ours = _ours(f"storing s3://{self._bucket}/{key}", error)
            if isinstance(ours, ObjectMissingError):  # all that can be missing in a put
                ours = StoreDeniedError(f"bucket {self._bucket} does not exist: create it ({ours})")
            raise ours from error
        return Put.CREATED

    def quick_puts(self) -> S3Puts:
        """See ``ObjectStore.quick_puts``."""
        signer = find_signer(self._settings, os.environ)
        return S3Puts(self._bucket, self._settings, signer, time_scale=self._time_scale)

    def get(self, key: str) -> bytes:
        """See ``ObjectStore.get``."""
        return b"".join(self.stream(key))

    def get_head(self, key: str, limit: int) -> bytes:
        """See ``ObjectStore.get_head``."""
        with self._errors("reading", key):
            try:
                # A range that ends past the object gives what there is (RFC 9110, section 14.1.2) ...
                return bytes(obstore.get_range(self._classes[0][1], _checked(key), start=0, length=limit))
            except BaseError as error:
                # ... but no range lies within an empty object (section 15.5.17).
                if "status code: 416" not in str(error):
                    raise
                return b""

    def stream(self, key: str) -> Iterator[bytes]:
        """See ``ObjectStore.stream``."""
        with self._errors("reading", key):
            yield from obstore.get(self._large, _checked(key)).stream(min_chunk_size=1 << 20)

    def list(self, prefix: str = "", after: str = "") -> Iterator[ObjectEntry]:
        """See ``ObjectStore.list``."""
        with self._errors("listing", prefix):
            pages = obstore.list(
                self._large, prefix.strip("/") or None, offset=after or None, chunk_size=1000
            )
            for page in pages:
                for meta in page:
                    modified_ms = int(meta["last_modified"].timestamp() * 1000)
                    yield ObjectEntry(meta["path"], meta["size"], modified_ms)

    def probe(self, prefix: str = "") -> None:
        """See ``ObjectStore.probe``: asks for one page of a listing."""
        with self._errors("listing", prefix):
            next(iter(obstore.list(self._classes[0][1], prefix.strip("/") or None, chunk_size=1)), None)

    @contextmanager
    def _errors(self, doing: str, key: str) -> Iterator[None]:
        """Turn obstore's errors into the store's."""
        try:
            yield
        except StoreError:
            raise
        except (BaseError, OSError, ValueError) as error:
            raise _ours(f"{doing} s3://{self._bucket}/{key}", error) from error


def _client(bucket: str, settings: S3Settings, timeout: float) -> S3Store:
    config: dict[str, str | bool] = {"checksum_algorithm": "SHA256", **settings.static_keys}
    if settings.region:
        config["region"] = settings.region
    if settings.endpoint_url:
        config["endpoint"] = settings.endpoint_url
    try:
        return S3Store(
            bucket,
            config=config,  # type: ignore[arg-type]  # a TypedDict cannot be built from computed names
            client_options={
                "allow_http": settings.allow_http,
                "connect_timeout": f"{max(1, round(5000 * min(1.0, timeout / 30)))}ms",
                "timeout": f"{max(1, round(timeout * 1000))}ms",
                "default_content_type": "application/json",
            },
            retry_config={"max_retries": 0},
        )
    except (BaseError, ValueError, OSError) as error:
        raise StoreSettingsError(f"bucket {bucket!r} cannot be opened: {_text(error)}") from error


def _checked(key: str) -> str:
    try:
        return check_key(key)
    except ValueError as error:
        raise ObjectRefusedError(str(error)) from None


def _ours(where: str, error: Exception) -> StoreError:
    text = str(error)
    said = f"{where}: {_text(error)}"
    for sign, advice in _SETTINGS_SIGNS:
        if sign.search(text):
            return StoreDeniedError(f"{said}; {advice}")
    if isinstance(error, FileNotFoundError):
        return ObjectMissingError(said)
    # A listing's refusal comes as a general error, told only by its text.
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or "status code: 403" in text:
        return StoreDeniedError(f"{said}; check credentials, s3:PutObject, s3:GetObject and s3:ListBucket")
    if _OF_THIS_OBJECT.search(text):
        return ObjectRefusedError(f"{said}; raise the store's limit")
    return StoreUnavailableError(said)


def _text(error: Exception) -> str:
    """Give what obstore said, on one line, without its debug output and without an XML body's signature details."""
    text = str(error).split("\n\nDebug source", 1)[0]
    code = re.search(r"<Code>(\w{1,64})</Code>", text)
    status = re.search(r"status code: (\d{3} [\w ]{1,40})", text)
    if status:
        return f"{status[1].strip()}{f' ({code[1]})' if code else ''}"
    return " ".join(text.split())[:300]
