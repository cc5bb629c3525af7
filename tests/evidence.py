"""A folder of records with their digests, honest and small; means to tamper with it; and both verifiers.

Two writers. ``A``: boot 1 with ten records, boot 2 with six, of which the last is not listed yet; six digests, an hour apart;
record 3 comes late; between digests 3 and 4 the key was rotated. ``B``: six records in one digest, and an empty one.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import calls
from llm_audit.cli.verifying.reading import DigestReader, Place
from llm_audit.cli.verifying.verification import Figures, Pin, Scope, Verification
from llm_audit.integrity.canonical import canonical
from llm_audit.integrity.digests import ChainEnd, Entry, entry_bytes, make_digests, tree_root
from llm_audit.integrity.signatures import PrivateKey, new_private_key
from llm_audit.record.encoding import encode_record
from llm_audit.record.schema import WriterPosition
from llm_audit.store.folder import FolderStore
from llm_audit.store.keys import object_key

VERIFIER = Path(__file__).parents[1] / "verifier" / "verify.py"
A, B = "w-0000000a", "w-0000000b"
HOUR = 3_600_000
T0 = 1_795_500_000_000  # 2026-11-24T06:00:00Z
FIRST_KEY, SECOND_KEY = new_private_key(), new_private_key()

Spot = tuple[str, int, int]
"""Writer, boot, sequence."""
Findings = set[tuple[str, str]]
"""Kind and object of each."""


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def new_record(luck: random.Random, spot: Spot, previous: str | None, started_ms: int) -> tuple[str, bytes]:
    """Give the key and bytes of a record."""
    request_id = str(uuid.UUID(int=luck.getrandbits(128), version=4))
    record = calls.record(
        request_id=request_id, started_at_ms=started_ms, writer=WriterPosition(*spot, previous)
    )
    return object_key("logs", started_ms, request_id), encode_record(record)


@dataclass
class Evidence:
    """One such folder, below ``root``: ``objects`` and the public keys in ``keys``."""

    root: Path
    places: dict[Spot, str] = field(default_factory=dict)
    """Keys of all records."""
    digests: dict[tuple[str, int], str] = field(default_factory=dict)
    """Keys of all digests."""
    ends: dict[str, ChainEnd] = field(default_factory=dict)

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    @property
    def keys(self) -> Path:
        return self.root / "keys"

    def copied(self, root: Path) -> Evidence:
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        return Evidence(root, dict(self.places), dict(self.digests), dict(self.ends))

    def path(self, key: str) -> Path:
        return self.objects / key

    def record(self, writer: str, boot: int, sequence: int) -> Path:
        return self.path(self.places[writer, boot, sequence])

    def digest(self, writer: str, number: int) -> Path:
        return self.path(self.digests[writer, number])

    def put(self, key: str, data: bytes) -> str:
        self.path(key).parent.mkdir(parents=True, exist_ok=True)
        self.path(key).write_bytes(data)
        return key

    def entry(self, spot: Spot) -> Entry:
        key = self.places[spot]
        data = self.path(key).read_bytes()
        return Entry(spot[1], key, spot[2], sha(data), len(data))

    def list_records(
        self, writer: str, spots: Iterable[tuple[int, int]], now_ms: int, key: PrivateKey, reason="interval"
    ) -> None:
        """Make and put the writer's next digest."""
        entries = [self.entry((writer, *spot)) for spot in spots]
        before = self.ends.get(writer)
        for made in make_digests(
            writer, before, entries, now_ms=now_ms, reason=reason, made_by="test", sign=key.sign
        ):
            self.digests[writer, made.end.number] = self.put(made.key, made.data)
            self.ends[writer] = made.end

    def changed(
        self,
        writer: str,
        number: int,
        /,
        *,
        key: PrivateKey = SECOND_KEY,
        entries: Callable[[list[dict]], list[dict]] | None = None,
        relink: bool = True,
        key_of_file: str | None = None,
        is_counted: bool = True,
        **head: Any,
    ) -> str:
        """Change a digest as one who has the key could, and sign it; those after it are signed again to link, if asked."""
        path = self.digest(writer, number)
        document = json.loads(path.read_bytes())
        if entries is not None:
            document["entries"] = entries(document["entries"])
        listed = [entry_bytes(Entry(**entry)) for entry in document["entries"]]
        root = {"rootSha256": tree_root(listed), "entries": len(listed)} if is_counted else {}
        document["head"] |= root | head
        document["signature"] = key.sign(canonical(document["head"])).document()
        where = key_of_file or self.digests[writer, number]
        data = canonical(document)
        self.put(where, data)
        if relink and (writer, number + 1) in self.digests:
            self.changed(writer, number + 1, key=key, previousSha256=sha(data), is_counted=False)
        return where

    def heads(self) -> list[Pin]:
        return [
            Pin(writer, number, sha(self.digest(writer, number).read_bytes()))
            for writer, number in self.digests
        ]


def honest(root: Path) -> Evidence:
    """Make the folder."""
    evidence, luck = Evidence(root), random.Random(7)
    evidence.keys.mkdir(parents=True)
    for key in (FIRST_KEY, SECOND_KEY):
        (evidence.keys / f"{key.public.id}.pem").write_text(key.public.pem)
    for writer, boots in ((A, {1: 10, 2: 6}), (B, {0: 6})):
        previous = None
        for boot, count in boots.items():
            for sequence in range(count):
                spot = (writer, boot, sequence)
                started = T0 + (boot * 20 + sequence) * 1000
                evidence.places[spot], data = new_record(luck, spot, previous, started)
                evidence.put(evidence.places[spot], data)
                previous = sha(data)
    first = [(1, n) for n in (0, 1, 2, 4, 5)]
    evidence.list_records(A, [], T0, FIRST_KEY, "start")
    evidence.list_records(A, first, T0 + HOUR, FIRST_KEY)
    evidence.list_records(A, [(1, 3), (1, 6), (1, 7), (1, 8), (1, 9)], T0 + HOUR * 3 // 2, FIRST_KEY)
    evidence.list_records(A, [], T0 + 3 * HOUR, FIRST_KEY)
    evidence.list_records(A, [(2, n) for n in range(5)], T0 + 4 * HOUR, SECOND_KEY)
    evidence.list_records(A, [], T0 + 5 * HOUR, SECOND_KEY, "stop")
    evidence.list_records(B, [(0, n) for n in range(6)], T0 + HOUR, SECOND_KEY, "start")
    evidence.list_records(B, [], T0 + 2 * HOUR, SECOND_KEY)
    return evidence


def verified(
    objects: Path, keys: Path, pins: Iterable[Pin] = (), *, jobs: int = 1
) -> tuple[list[dict], Figures]:
    """Run the package's verifier: findings, and figures."""
    store = FolderStore(objects)
    pems = tuple(path.read_text() for path in sorted(keys.glob("*.pem")))
    place = Place(store.bucket, None, None, pems)
    reader = DigestReader.open(place)
    findings: list[dict] = []
    verification = Verification(
        store,
        reader,
        place,
        Scope("logs", tuple(pins), jobs),
        on_finding=lambda finding: findings.append(finding.as_dict()),
        on_progress=lambda _doing, _count: None,
    )
    figures = verification.run()
    reader.close()
    assert figures.findings == len(findings)
    return findings, figures


def verified_alone(objects: Path, keys: Path, pins: Iterable[Pin] = ()) -> tuple[list[dict], dict]:
    """Run the auditor's verifier, as an auditor does: findings, and what it counted."""
    options = [option for path in sorted(keys.glob("*.pem")) for option in ("--key", str(path))]
    for pin in pins:
        options += ["--pin", f"{pin.writer}:{pin.number}:{pin.sha256}"]
    done = subprocess.run(
        [sys.executable, "-I", str(VERIFIER), str(objects), "--json", *options],
        capture_output=True,
        check=False,
        text=True,
    )
    assert not done.stderr, done.stderr
    *findings, last = map(json.loads, done.stdout.splitlines())
    assert done.returncode == (1 if findings else 0)
    return findings, last


def told(findings: list[dict]) -> Findings:
    return {(finding["finding"], finding["object"]) for finding in findings}
