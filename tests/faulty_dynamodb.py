"""A thin layer in front of DynamoDB that fails on demand: throttles writes, or takes one and never answers.

The local AWS has no faults of its own; the Lambda under test is pointed here by ``AWS_ENDPOINT_URL_DYNAMODB``.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class FaultyDynamo:
    """What happens to the next writes; everything else goes through as it is."""

    def __init__(self, endpoint: str) -> None:
        self.behind = urlsplit(endpoint).netloc
        self.throttled = 0
        self.held = threading.Event()
        self._to_throttle = 0
        self._holds = False
        self._released = threading.Event()
        self._lock = threading.Lock()
        self.url = ""

    def throttle(self, count: int) -> None:
        """Refuse the next ``count`` writes as a table does whose partition is hot."""
        with self._lock:
            self._to_throttle += count

    def hold_next(self) -> None:
        """Take the next write and leave it unanswered; ``held`` is set when it is there."""
        self.held.clear()
        self._released.clear()
        self._holds = True

    def release(self) -> None:
        """Let go of what is held: it never reaches the table."""
        self._released.set()

    def fate(self, operation: str) -> str:
        """Decide about one request: ``pass``, ``throttle`` or ``hold``."""
        if not operation.endswith((".PutItem", ".BatchWriteItem")):
            return "pass"
        with self._lock:
            if self._holds:
                self._holds = False
                return "hold"
            if self._to_throttle:
                self._to_throttle -= 1
                self.throttled += 1
                return "throttle"
        return "pass"

    def held_until_released(self) -> None:
        """Wait, as whoever holds a request does; a minute at most."""
        self.held.set()
        self._released.wait(60)


_THROTTLED = json.dumps(
    {
        "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
        "message": "The level of configured provisioned throughput for the table was exceeded.",
    }
).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: FaultyDynamo

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        fate = self.faults.fate(self.headers.get("x-amz-target", ""))
        if fate == "hold":
            self.faults.held_until_released()
            self.close_connection = True
            return
        if fate == "throttle":
            self._answer(400, _THROTTLED)
            return
        connection = http.client.HTTPConnection(self.faults.behind, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            connection.request("POST", self.path, body, headers)
            response = connection.getresponse()
            self._answer(response.status, response.read())
        finally:
            connection.close()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("content-type", "application/x-amz-json-1.0")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def faulty_dynamodb(endpoint: str) -> Iterator[FaultyDynamo]:
    """Serve on a free port in front of ``endpoint``; everything held is released at the end."""
    faults = FaultyDynamo(endpoint)
    handler = type("Handler", (_Handler,), {"faults": faults})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        faults.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield faults
        finally:
            faults.release()
            server.shutdown()
            thread.join()
