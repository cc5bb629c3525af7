"""Objects of any size at 128 MB: the function as a process of its own, its memory limited and its peak measured."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from calls import key_of, record
from llm_audit.record.encoding import encode_record

HANDLER = Path(__file__).parents[3] / "infra/lambda/llm-audit-ingest"
LIMIT = 128 * 1024 * 1024
PEAK = 100 * 1024 * 1024

_RUN = f"""
import json, resource, sys
resource.setrlimit(resource.RLIMIT_DATA, ({LIMIT}, {LIMIT}))
import handler
answer = handler.lambda_handler(json.loads(sys.stdin.readline()))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([answer, int(peak.split()[1]) * 1024]))
"""

MARK = b"~~~"


def document(**changes) -> list[bytes]:
    """Give a small document in pieces, cut where a mark stands in it."""
    plain = json.loads(encode_record(record(1)))
    for path, value in changes.items():
        part, _, member = path.partition("__")
        plain[part][member] = value
    return json.dumps(plain).encode().split(MARK)


def large_body(megabytes: int) -> Iterator[bytes]:
    """A request that is JSON within JSON, and a response that is base64, each half of the size."""
    first, middle, last = document(request__bodyText=MARK.decode(), response__bodyText=MARK.decode())
    yield first
    for _ in range(megabytes // 2):
        yield b'{\\"k\\":1},' * 104_858
    yield middle
    for _ in range(megabytes // 2):
        yield b"QUJD" * 262_144
    yield last


def large_model_name(megabytes: int) -> Iterator[bytes]:
    first, middle, last = document(model__requested=MARK.decode(), model__served=MARK.decode())
    yield first
    for part in (middle, last):
        for _ in range(megabytes):
            yield b"M" * 1_048_576
        yield part


def large_tree(megabytes: int) -> Iterator[bytes]:
    """An assembled reply of many small parts: what costs most to pass over."""
    first, last = document(response__assembled=[MARK.decode()])
    yield first[:-1] + b'{"a":1}'
    for _ in range(megabytes):
        yield b',{"a":[]}' * 116_508
    yield last[1:]


class Aws(ThreadingHTTPServer):
    """As much of S3 and DynamoDB as the function asks for: one endless-looking object, and rows that are kept."""

    daemon_threads = True

    def __init__(self, pieces) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.pieces = pieces
        self.rows: list[dict] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    server: Aws
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in self.server.pieces():
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert self.headers["x-amz-target"] == "DynamoDB_20120810.PutItem"
        self.server.rows.append(asked["Item"])
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(pieces) -> Iterator[Aws]:
    with Aws(pieces) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def event(key: str) -> dict:
    return {
        "Records": [{"eventSource": "aws:s3", "s3": {"bucket": {"name": "audit"}, "object": {"key": key}}}]
    }


def ingested(server: Aws) -> tuple[dict, int]:
    """Run the function in a process that gets no more than 128 MB; gives its answer and the most it used."""
    environment = {
        "PYTHONPATH": str(HANDLER),
        "AWS_LAMBDA_FUNCTION_NAME": "llm-audit-ingest",
        "AWS_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_ENDPOINT_URL": server.url,
    }
    done = subprocess.run(
        [sys.executable, "-c", _RUN],
        input=json.dumps(event(key_of(record(1)))) + "\n",
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer, peak = json.loads(done.stdout.splitlines()[-1])
    return answer, peak


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param(lambda: large_body(300), id="300 MB of bodies"),
        pytest.param(lambda: large_model_name(1), id="model names of 1 MB"),
        pytest.param(lambda: large_model_name(20), id="model names of 20 MB"),
        pytest.param(lambda: large_tree(10), id="an assembled reply of 10 MB"),
    ],
)
def test_an_object_of_any_size_becomes_an_item_in_less_than_100_mb_of_memory(pieces):
    with serving(pieces) as server:
        answer, peak = ingested(server)
    assert answer == {"processed": 1, "written": 1, "skipped": 0, "errors": 0}
    assert peak < PEAK
    (row,) = server.rows
    digest = hashlib.sha256()
    for piece in pieces():
        digest.update(piece)
    assert row["auditObjectSha256"]["S"] == digest.hexdigest()
    assert len(row["model"]["S"]) <= 256
