"""How fast `llm-audit verify` is and how much memory it takes; and that it finds nothing in many honest records.

    python bench/verify_scale.py scale --records 1000000 [--folder F] [--jobs 1]
    python bench/verify_scale.py honest --records 100000 [--folder F]

``scale`` writes records and digests straight into a folder (kept where --folder is given, and used again), then
verifies in a process of its own and prints one JSON line: records a second of CPU and of wall time, and the most memory that
process and its children ever held. ``honest`` has real writers and a real shipper make them, which are killed and restarted again and
again, over a store that fails and clocks that jump (tests/honest_traffic.py); then both verifiers run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import calls
import honest_traffic
from llm_audit.integrity.digests import ChainEnd, Entry, make_digests
from llm_audit.integrity.signatures import new_private_key
from llm_audit.record.encoding import encode_record
from llm_audit.record.schema import WriterPosition
from llm_audit.store.keys import object_key

ROOT = Path(__file__).parents[1]
WRITER = "w-0000000a"
T0 = 1_795_500_000_000
TEXT = b"Explain in one sentence what an audit trail is and why it matters to a regulated company. " * 5


def main() -> None:
    """Do what was asked."""
    options = _options()
    with ExitStack() as stack:
        folder = Path(options.folder or stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        if options.what == "honest":
            honest = honest_traffic.run(folder, options.records, most_entries=10_000, seed=options.seed)
            print(json.dumps({"records": options.records, "deaths": honest.deaths}), flush=True)
            objects, keys = honest.objects, honest.keys
        else:
            objects, keys = folder / "objects", folder / "public"
            if not keys.exists():
                _make(objects, keys, options.records)
        print(json.dumps(_verified(objects, keys, options.jobs)))
        if options.what == "honest":
            program = [sys.executable, str(ROOT / "verifier" / "verify.py"), str(objects)]
            print(_run([*program, "--json", "--key", str(keys / "key.pem")])[0])


def _make(objects: Path, keys: Path, records: int) -> None:
    """Write records of some 2 KB as a writer would number them, a hundred a second, over days."""
    luck, key = random.Random(7), new_private_key()  # noqa: S311 - the same records every time
    end: ChainEnd | None = None
    previous, entries = "0" * 64, []
    folders: set[Path] = set()
    request_id, place = str(uuid.UUID(int=1, version=4)), WriterPosition(WRITER, 1, 987_654_321, previous)
    body = b'{"model":"demo","messages":[{"role":"user","content":"%b"}]}' % TEXT
    part = calls.record().request._replace(body=body, byte_count=len(body))
    form = encode_record(calls.record(request_id=request_id, writer=place, request=part))
    before, _, rest = form.partition(request_id.encode())
    middle, _, after = rest.partition(b'987654321,"previousSha256":"' + previous.encode() + b'"')
    for number in range(records):
        started = T0 + number * 10
        request_id = str(uuid.UUID(int=luck.getrandbits(128), version=4))
        link = b'%d,"previousSha256":%b' % (number, b'"%b"' % previous.encode() if number else b"null")
        data = before + request_id.encode() + middle + link + after
        name = object_key("logs", started, request_id)
        previous = hashlib.sha256(data).hexdigest()
        entries.append(Entry(1, name, number, previous, len(data)))
        _put(objects / name, data, folders)
        if len(entries) == 10_000 or number == records - 1:
            (made,) = make_digests(
                WRITER, end, entries, now_ms=started, reason="full", made_by="bench", sign=key.sign
            )
            _put(objects / made.key, made.data, folders)
            end, entries = made.end, []
    keys.mkdir()
    (keys / "key.pem").write_text(key.public.pem)


def _put(path: Path, data: bytes, folders: set[Path]) -> None:
    if path.parent not in folders:
        path.parent.mkdir(parents=True, exist_ok=True)
        folders.add(path.parent)
    path.write_bytes(data)


def _verified(objects: Path, keys: Path, jobs: int) -> dict[str, object]:
    command = [sys.executable, "-m", "llm_audit", "verify", "--json", "--jobs", str(jobs)]
    command += ["--bucket", objects.absolute().as_uri(), "--key", str(keys)]
    began = time.perf_counter()
    lines, usage = _run(command)
    wall = time.perf_counter() - began
    *findings, last = lines.splitlines()
    figures = json.loads(last)["figures"]
    cpu = usage.ru_utime + usage.ru_stime
    return {
        "listed": figures["listed"],
        "intact": figures["intact"],
        "bytes": figures["bytesRead"],
        "findings": len(findings),
        "jobs": jobs,
        "wallSeconds": round(wall, 1),
        "cpuSeconds": round(cpu, 1),
        "recordsPerCpuSecond": round(figures["listed"] / cpu),
        "recordsPerSecond": round(figures["listed"] / wall),
        "mostMemoryMiB": round(usage.ru_maxrss / 1024),
    }


def _run(command: list[str]) -> tuple[str, resource.struct_rusage]:
    """Run a program; give what it printed, and what it and its children used."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = list(after)
    used[0] -= before.ru_utime
    used[1] -= before.ru_stime
    return done.stdout, resource.struct_rusage(used)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["scale", "honest"])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--folder")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
