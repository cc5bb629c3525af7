"""An S3 endpoint on loopback that does what it is told: works, answers 500, 503, 403, 400, or never answers.

While it works it is a small, honest object store (conditional put, ranged get), so that one can look at what was
stored. Its faults come in two kinds: before anything was stored, and after (the answer gets lost). It also hands out
credentials, as a task's role does, and may refuse those that it handed out before.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
import urllib.parse
import xml.sax.saxutils
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from llm_audit.store.aws import S3Settings
from llm_audit.store.s3 import S3Objects

OK, LOST_ANSWER, LATE_ANSWER, SILENT = "ok", "stored, answer lost", "stored, no answer yet", "silent"
BUCKET = "audit"
CREDENTIALS = "/credentials"
"""Where they are handed out."""
_CODES = {503: "SlowDown", 403: "AccessDenied", 400: "ExpiredToken"}
_LONGEST_S = 120.0
"""No handler waits for longer, whatever its client does."""


class ScriptedStore(ThreadingHTTPServer):
    """``mode`` is one of the above, or a status code to answer every request with."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        """Listen on a port that is free."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.guard = threading.Lock()
        self.mode: str | int = OK
        self.refused_over: int | None = None
        """Objects of more bytes are refused with EntityTooLarge."""
        self.requests = Counter[str | int]()
        """By the mode in which they came."""
        self.released = threading.Event()
        self.arrived = threading.Semaphore(0)
        """Released once for each put that arrived, whatever was answered."""
        self._connections: list[socket.socket] = []
        self.stored_unanswered = threading.Semaphore(0)
        self.token: str | None = None
        """The session token that requests must bear; None: any, or none."""
        self.handed_out: Callable[[], tuple[str, float]] | None = None
        """Whoever asks for credentials gets this session token, and when it expires (seconds of the asker's clock)."""

    def credentials(self, folder: Path) -> dict[str, str]:
        """Give the variables by which an AWS client finds the credentials; writes one file, as ECS and EKS do."""
        token = folder / "authorization-token"
        token.write_text("any")
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.endpoint + CREDENTIALS,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
        }

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def opened(self, **more: Any) -> S3Objects:
        """Give the product's client of it."""
        keys = {"access_key_id": "test", "secret_access_key": "test"}
        settings = S3Settings("us-east-1", self.endpoint, allow_http=True, static_keys=keys)
        return S3Objects(BUCKET, settings, **more)

    def write_down(self, folder: Path) -> Path:
        """Put every object into a folder, by its key."""
        with self.guard:
            for key, data in self.objects.items():
                path = folder / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        return folder

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection."""
        self._connections.append(request)
        super().process_request(request, client_address)

    def close_connections(self) -> None:
        """Close every connection, as a server does with those that have been idle for long."""
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing when a client has left."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedStore

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _key(self) -> str:
        return urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).removeprefix(f"/{BUCKET}/")

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _fault(self, status: int, code: str) -> None:
        text = xml.sax.saxutils.escape(code)
        self._answer(status, f"<Error><Code>{text}</Code></Error>".encode())

    def _is_faulty(self) -> bool:
        mode, token = self.server.mode, self.server.token
        self.server.requests[mode] += 1
        if isinstance(mode, int):
            self._fault(mode, _CODES.get(mode, "InternalError"))
            return True
        if mode == SILENT:
            self._wait()
            return True
        if token is not None and self.headers["x-amz-security-token"] != token:
            self._fault(400, "ExpiredToken")
            return True
        return False

    def _wait(self) -> None:
        """Say nothing until released, or until the client has given up; then leave."""
        self.close_connection = True
        end = time.monotonic() + _LONGEST_S
        while not self.server.released.wait(0.02) and time.monotonic() < end:
            if select.select([self.connection], [], [], 0)[0]:
                return

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.arrived.release()
        if self._is_faulty():
            return
        if self.server.refused_over is not None and len(data) > self.server.refused_over:
            self._fault(400, "EntityTooLarge")
            return
        if self.headers["If-None-Match"] != "*":
            self._fault(400, "InvalidRequest")  # it could overwrite: nobody may ask for that
            return
        with self.server.guard:
            is_new = self._key() not in self.server.objects
            if is_new:
                self.server.objects[self._key()] = data
        if is_new and self.server.mode in {LOST_ANSWER, LATE_ANSWER}:
            self.server.stored_unanswered.release()
            if self.server.mode == LATE_ANSWER:
                self._wait()
            self.close_connection = True
        elif is_new:
            self._answer(200, ETag='"x"')
        else:
            self._fault(412, "PreconditionFailed")

    def do_GET(self) -> None:
        if self.path == CREDENTIALS:
            self._hand_out()
            return
        if self._is_faulty():
            return
        data = self.server.objects.get(self._key())
        if data is None:
            self._fault(404, "NoSuchKey")
            return
        headers = {"ETag": '"x"', "Last_Modified": "Tue, 24 Nov 2026 00:00:00 GMT"}
        wanted = self.headers.get("Range")
        if wanted is None:
            self._answer(200, data, **headers)
            return
        first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
        piece = data[first : last + 1]
        at = f"bytes {first}-{first + len(piece) - 1}/{len(data)}"
        self._answer(206, piece, Content_Range=at, **headers)

    def _hand_out(self) -> None:
        if self.server.handed_out is None:
            self._fault(404, "NoCredentials")
            return
        token, expires = self.server.handed_out()
        said = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        keys = {"AccessKeyId": "test", "SecretAccessKey": "test", "Token": token, "Expiration": said}
        self._answer(200, json.dumps(keys).encode())


@contextmanager
def scripted_store() -> Iterator[ScriptedStore]:
    """Serve until the block ends."""
    with ScriptedStore() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join(10)
