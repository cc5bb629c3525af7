"""Many small puts under way in S3 at once, without a thread for each: libcurl's multi interface, through pycurl.

A put by ``S3Objects.put_new`` costs 70 µs of CPU by itself, and as much again for the threads that many at once
need: each has to be woken, and to wait for the interpreter's lock while records are built. Here the caller's own
thread begins puts and now and then asks what has ended (50 µs a put, no lock, no wake-up). What does not simply
succeed is not judged here: the caller does that put again by ``put_new``, which tells an object that exists from
a store that is away, and says why.

A put is as in ``store/s3.py``: ``If-None-Match: *``, one piece, SHA-256 told to S3 twice (signature, checksum).
libcurl signs (AWS Signature Version 4); it keeps a connection that worked and opens another when one is lost.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from typing import Final

import pycurl

from llm_audit.store.aws import S3Settings
from llm_audit.store.credentials import Credentials

SMALL_BYTES: Final = 256 << 10
"""Larger objects go by ``put_new``: its time limits grow with the size."""
MOST_UNDER_WAY: Final = 128
_TIMEOUT_MS: Final = 30_000
_CONNECT_TIMEOUT_MS: Final = 5_000
_PAUSES_S: Final = (1.0, 60.0)
"""After a put that did not succeed, none is begun for so long; twice as long each time, up to the second."""

_STORED: Final = 200
_TAKEN: Final = (409, 412)
"""The name is taken, or just being taken: nothing is wrong with the store."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.~/-]+", re.ASCII)
"""Unreserved characters (RFC 3986, section 2.3) and slashes: they stand in URL and signature as they are."""


class S3Puts:
    """Puts under way in one bucket. Used from one thread."""

    def __init__(
        self,
        bucket: str,
        settings: S3Settings,
        credentials: Callable[[], Credentials | None],
        *,
        time_scale: float = 1.0,
    ) -> None:
        """Open nothing yet. ``credentials`` is asked at each put; None: none are to be had just now."""
        region = settings.region or "us-east-1"
        endpoint = settings.endpoint_url or f"https://s3.{region}.amazonaws.com"
        self._url = f"{endpoint.rstrip('/')}/{bucket}/"
        self._signing = f"aws:amz:{region}:s3"
        self._credentials = credentials
        self._time_scale = time_scale
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, MOST_UNDER_WAY)
        self._idle: list[pycurl.Curl] = []
        self._tokens: dict[pycurl.Curl, object] = {}
        self._paused_until = 0.0
        self._pause_s = 0.0

    @property
    def under_way(self) -> int:
        """How many puts were begun and have not ended."""
        return len(self._tokens)

    def begin(self, token: object, key: str, data: bytes, sha256: str) -> bool:
        """Begin a put; False where it has to go by ``put_new``. ``sha256``: of ``data``, in hex."""
        if (
            len(data) > SMALL_BYTES
            or len(self._tokens) >= MOST_UNDER_WAY
            or not _PLAIN_KEY.fullmatch(key)
            or (self._paused_until and time.monotonic() < self._paused_until)
        ):
            return False
        credentials = self._credentials()
        if credentials is None:
            self._pause()
            return False
        curl = self._idle.pop() if self._idle else self._new_handle()
        headers = [
            "If-None-Match: *",
            f"x-amz-content-sha256: {sha256}",
            f"x-amz-checksum-sha256: {base64.b64encode(bytes.fromhex(sha256)).decode()}",
            "Content-Type: application/json",
            "Expect:",
        ]
        if credentials.session_token:
            headers.append(f"x-amz-security-token: {credentials.session_token}")
        curl.setopt(pycurl.URL, self._url + key)
        curl.setopt(pycurl.POSTFIELDS, data)
        curl.setopt(pycurl.HTTPHEADER, headers)
        curl.setopt(pycurl.USERNAME, credentials.access_key_id)
        curl.setopt(pycurl.PASSWORD, credentials.secret_access_key)
        self._tokens[curl] = token
        self._multi.add_handle(curl)
        return True

    def ended(self) -> list[tuple[object, bool]]:
        """Move all on, without waiting; give the tokens of those that ended, and whether each was stored."""
        if not self._tokens:
            return []
        self._multi.perform()
        ended: list[tuple[object, bool]] = []
        more = 1
        while more:
            more, answered, failed = self._multi.info_read()
            ended.extend((self._ended(curl), self._is_stored(curl)) for curl in answered)
            ended.extend((self._ended(curl), self._is_stored(None)) for curl, _, _ in failed)
        return ended

    def close(self) -> None:
        """Let go of everything; a put that is under way may succeed yet."""
        for curl in self._tokens:
            self._multi.remove_handle(curl)
            curl.close()
        self._tokens.clear()
        for curl in self._idle:
            curl.close()
        self._idle.clear()
        self._multi.close()

    def _ended(self, curl: pycurl.Curl) -> object:
        self._multi.remove_handle(curl)
        curl.setopt(pycurl.POSTFIELDS, b"")  # or the handle keeps the record's bytes until its next put
        self._idle.append(curl)
        return self._tokens.pop(curl)

    def _is_stored(self, answered: pycurl.Curl | None) -> bool:
        status = 0 if answered is None else answered.getinfo(pycurl.RESPONSE_CODE)
        if status == _STORED:
            self._pause_s = self._paused_until = 0.0
            return True
        if status not in _TAKEN:
            self._pause()
        return False

    def _pause(self) -> None:
        shortest, longest = _PAUSES_S
        self._pause_s = min(longest, max(shortest, self._pause_s * 2))
        self._paused_until = time.monotonic() + self._pause_s * self._time_scale

    def _new_handle(self) -> pycurl.Curl:
        curl = pycurl.Curl()
        curl.setopt(pycurl.AWS_SIGV4, self._signing)
        curl.setopt(pycurl.CUSTOMREQUEST, "PUT")
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.NETRC, pycurl.NETRC_IGNORED)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, round(_CONNECT_TIMEOUT_MS * min(1.0, self._time_scale))))
        curl.setopt(pycurl.TIMEOUT_MS, max(1, round(_TIMEOUT_MS * self._time_scale)))
        curl.setopt(pycurl.UPLOAD_BUFFERSIZE, 16 * 1024)
        curl.setopt(pycurl.BUFFERSIZE, 4 * 1024)
        curl.setopt(pycurl.WRITEFUNCTION, len)  # an answer's body is counted as taken, and forgotten
        return curl
