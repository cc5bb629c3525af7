"""Objects of any size at 128 MB: the function as a process of its own, its memory limited and its peak measured."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from calls import key_of, record
from llm_audit.record.encoding import encode_record
from small_aws import SmallAws, small_aws

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


def event(key: str) -> dict:
    return {
        "Records": [{"eventSource": "aws:s3", "s3": {"bucket": {"name": "audit"}, "object": {"key": key}}}]
    }


def ingested(server: SmallAws) -> tuple[dict, int]:
    """Run the function in a process that gets no more than 128 MB; gives its answer and the most it used."""
    environment = {
        "PYTHONPATH": str(HANDLER),
        "AWS_LAMBDA_FUNCTION_NAME": "llm-audit-ingest",
        **server.environment(),
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
    with small_aws() as server:
        server.objects["/audit/" + key_of(record(1))] = pieces
        answer, peak = ingested(server)
    assert answer == {"processed": 1, "written": 1, "skipped": 0, "errors": 0}
    assert peak < PEAK
    (row,) = server.rows
    digest = hashlib.sha256()
    for piece in pieces():
        digest.update(piece)
    assert row["auditObjectSha256"]["S"] == digest.hexdigest()
    assert len(row["model"]["S"]) <= 256
