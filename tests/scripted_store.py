"""An S3 endpoint on loopback that does what a test says: works, answers 500, 503, 403, or never answers.

While it works it is a small, honest object store (conditional put, ranged get), so that a test can look at what
was stored. Its faults come in two kinds: before anything was stored, and after (the answer gets lost).
"""

from __future__ import annotations

import socket
import threading
import urllib.parse
import xml.sax.saxutils
from collections import Counter
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from llm_audit.store.aws import S3Settings
from llm_audit.store.s3 import S3Objects

OK, LOST_ANSWER, LATE_ANSWER, SILENT = "ok", "stored, answer lost", "stored, no answer yet", "silent"


class ScriptedStore(ThreadingHTTPServer):
    """``mode`` is one of the above, or a status code to answer every request with."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.guard = threading.Lock()
        self.mode: str | int = OK
        self.refused_over: int | None = None
        """Objects of more bytes are refused with EntityTooLarge."""
        self.requests = Counter()
        self.released = threading.Event()
        self.arrived = threading.Semaphore(0)
        """Released once for each put that arrived, whatever was answered."""
        self._connections: list[socket.socket] = []
        self.stored_unanswered = threading.Semaphore(0)

    def opened(self, **more) -> S3Objects:
        keys = {"access_key_id": "test", "secret_access_key": "test"}
        endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        return S3Objects(
            "audit", S3Settings("us-east-1", endpoint, allow_http=True, static_keys=keys), **more
        )

    def process_request(self, request, client_address):
        self._connections.append(request)
        super().process_request(request, client_address)

    def close_connections(self) -> None:
        """Close every connection, as a server does with those that have been idle for long."""
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    def handle_error(self, request, client_address):
        """Print nothing when a client has left."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedStore

    def log_message(self, *_):
        """Say nothing."""

    def _key(self) -> str:
        return urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).removeprefix("/audit/")

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
        mode = self.server.mode
        self.server.requests[mode] += 1
        if isinstance(mode, int):
            self._fault(mode, {503: "SlowDown", 403: "AccessDenied"}.get(mode, "InternalError"))
            return True
        if mode == SILENT:
            self.server.released.wait(60)
            self.close_connection = True
            return True
        return False

    def do_PUT(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.arrived.release()
        if self._is_faulty():
            return
        if self.server.refused_over is not None and len(data) > self.server.refused_over:
            self._fault(400, "EntityTooLarge")
            return
        with self.server.guard:
            assert self.headers["If-None-Match"] == "*"
            is_new = self._key() not in self.server.objects
            if is_new:
                self.server.objects[self._key()] = data
        if is_new and self.server.mode in {LOST_ANSWER, LATE_ANSWER}:
            self.server.stored_unanswered.release()
            if self.server.mode == LATE_ANSWER:
                self.server.released.wait(60)
            self.close_connection = True
        elif is_new:
            self._answer(200, ETag='"x"')
        else:
            self._fault(412, "PreconditionFailed")

    def do_GET(self):
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


@contextmanager
def scripted_store():
    """Serve until the test is done with it."""
    with ScriptedStore() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join(10)
