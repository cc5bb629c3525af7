"""As much of S3 and DynamoDB as the ingestion function asks for, on loopback: what a real one rarely answers.

Objects may be of any size (pieces are sent as they are made), refused, or cut off; rows and copies are kept.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Refusal:
    """What S3 or DynamoDB answers instead."""

    status: int
    code: str


@dataclass(frozen=True)
class Cut:
    """An object whose bytes end before their time."""

    beginning: bytes


Pieces = Callable[[], Iterable[bytes]]


class SmallAws(ThreadingHTTPServer):
    """``objects`` by ``/bucket/key``; one that is not there is NoSuchKey."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.objects: dict[str, bytes | Pieces | Refusal | Cut] = {}
        self.rows: list[dict] = []
        self.copies: list[tuple[str, dict[str, str]]] = []
        self.copy_answer: Refusal | None = None
        self.table_answer: Callable[[dict], Refusal | None] = lambda _row: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def environment(self, **more: str) -> dict[str, str]:
        """Give the variables with which the function finds it."""
        return {
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": self.url,
            **more,
        }


class _Answers(BaseHTTPRequestHandler):
    server: SmallAws
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        match self.server.objects.get(unquote(urlsplit(self.path).path), Refusal(404, "NoSuchKey")):
            case Refusal() as refusal:
                self._refuse(refusal)
            case Cut(beginning):
                self.send_response(200)
                self.send_header("content-length", str(len(beginning) + 1))
                self.end_headers()
                self.wfile.write(beginning)
                self.close_connection = True
            case bytes() as data:
                self._answer(200, data)
            case pieces:
                self.send_response(200)
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                for piece in pieces():
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")

    def do_PUT(self) -> None:
        self.server.copies.append(
            (unquote(self.path), {name.lower(): value for name, value in self.headers.items()})
        )
        if self.server.copy_answer:
            self._refuse(self.server.copy_answer)
        else:
            self._answer(200, b"<CopyObjectResult><ETag>x</ETag></CopyObjectResult>")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert self.headers["x-amz-target"] == "DynamoDB_20120810.PutItem"
        refusal = self.server.table_answer(asked["Item"])
        if refusal:
            body = {"__type": f"com.amazonaws.dynamodb.v20120810#{refusal.code}", "message": "why"}
            self._answer(refusal.status, json.dumps(body).encode())
            return
        self.server.rows.append(asked["Item"])
        self._answer(200, b"{}")

    def _refuse(self, refusal: Refusal) -> None:
        self._answer(
            refusal.status, f"<Error><Code>{refusal.code}</Code><Message>why</Message></Error>".encode()
        )

    def _answer(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def small_aws() -> Iterator[SmallAws]:
    """Serve until the end of the block."""
    with SmallAws() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
