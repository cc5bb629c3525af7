"""Receipts: a statement about one call, and its check with the public key and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from evidence import FIRST_KEY, VERIFIER, A, B, honest
from llm_audit.cli.main import main
from llm_audit.integrity.canonical import canonical
from llm_audit.integrity.signatures import new_private_key
from recorded import Recorded


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    return honest(tmp_path_factory.mktemp("honest"))


def request_id(evidence, *spot) -> str:
    return Path(evidence.places[spot]).stem


def receipt(evidence, *spot) -> bytes:
    done = Recorded(evidence.root).run("receipt", request_id(evidence, *spot))
    assert done.exit_code == 0, done.output
    return done.stdout_bytes


def key_file(folder: Path, key=FIRST_KEY) -> Path:
    path = folder / "key.pem"
    path.write_text(key.public.pem)
    return path


def checked(folder: Path, data: bytes, key: Path, *options: str):
    """Check a receipt in a folder that holds nothing else, by the command and by the auditor's program; give both codes."""
    file = folder / "receipt.json"
    file.write_bytes(data)
    run = CliRunner().invoke(main, ["receipt", "verify", str(file), "--key", str(key), *options])
    alone = subprocess.run(
        [sys.executable, "-I", str(VERIFIER), "--receipt", str(file), "--key", str(key), *options],
        capture_output=True,
        check=False,
        text=True,
    )
    assert not alone.stderr
    assert "Traceback" not in run.output
    return run, alone.returncode


def test_a_receipt_is_proven_with_the_public_key_alone(evidence, tmp_path):
    run, alone = checked(tmp_path, receipt(evidence, A, 1, 4), key_file(tmp_path))

    assert (run.exit_code, alone) == (0, 0)
    assert f"proven: {evidence.places[A, 1, 4]} was stored with sha256" in run.stdout
    assert f"as sequence 4 of boot 1 of writer {A}" in run.stdout


def test_every_listed_call_has_its_receipt(evidence, tmp_path):
    for spot in evidence.places:
        if spot != (A, 2, 5):
            document = json.loads(receipt(evidence, *spot))
            assert document["entry"]["key"] == evidence.places[spot]
            key = evidence.keys / f"{document['signature']['keyId']}.pem"
            run = tmp_path / "one.json"
            run.write_bytes(canonical(document))
            done = CliRunner().invoke(main, ["receipt", "verify", str(run), "--key", str(key), "--json"])
            assert json.loads(done.stdout)["sequence"] == spot[2]


def test_the_record_itself_is_checked_where_it_is_given(evidence, tmp_path):
    data, key = receipt(evidence, A, 1, 4), key_file(tmp_path)
    same, other = str(evidence.record(A, 1, 4)), str(evidence.record(A, 1, 5))

    run, alone = checked(tmp_path, data, key, "--object", same)
    assert (run.exit_code, alone) == (0, 0)
    run, alone = checked(tmp_path, data, key, "--object", other)
    assert (run.exit_code, alone) == (1, 1)
    assert "another than the one" in run.stderr


def changed(data: bytes, change) -> bytes:
    document = json.loads(data)
    change(document)
    return canonical(document)


CHANGES = {
    "another digest": lambda d: d["entry"].update(sha256="0" * 64),
    "another key": lambda d: d["entry"].update(key=d["entry"]["key"].replace("2026", "2025")),
    "another sequence": lambda d: d["entry"].update(sequence=5),
    "another index": lambda d: d.update(index=d["index"] ^ 1),
    "an index beyond the tree": lambda d: d.update(index=99),
    "a negative index": lambda d: d.update(index=-1),
    "a path too short": lambda d: d["path"].pop(),
    "a path too long": lambda d: d["path"].append("0" * 64),
    "another neighbour": lambda d: d["path"].__setitem__(0, "0" * 64),
    "a neighbour that is none": lambda d: d["path"].__setitem__(0, "zz"),
    "another root": lambda d: d["head"].update(rootSha256="0" * 64),
    "another count": lambda d: d["head"].update(entries=6),
    "another writer": lambda d: d["head"].update(writer=B),
    "another signature": lambda d: d["signature"].update(value="AAAA"),
    "another signer": lambda d: d["signature"].update(keyId="0" * 64),
    "no signature": lambda d: d.pop("signature"),
    "another type": lambda d: d.update(type="llm-audit-receipt/2"),
    "a member more": lambda d: d.update(note="trust me"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_receipt_proves_nothing(what, evidence, tmp_path):
    data = changed(receipt(evidence, A, 1, 4), CHANGES[what])
    run, alone = checked(tmp_path, data, key_file(tmp_path))
    assert (run.exit_code, alone) == (1, 1)
    assert "the receipt proves nothing: " in run.stderr


@pytest.mark.parametrize("data", [b"{}", b"hello", b"[" * 100_000, b'{"type": "llm-audit-receipt/1"}'])
def test_what_is_no_receipt_proves_nothing(data, tmp_path):
    run, alone = checked(tmp_path, data, key_file(tmp_path))
    assert (run.exit_code, alone) == (1, 1)


def test_another_key_proves_nothing(evidence, tmp_path):
    run, alone = checked(tmp_path, receipt(evidence, A, 1, 4), key_file(tmp_path, new_private_key()))
    assert (run.exit_code, alone) == (1, 1)


def test_a_call_that_no_digest_lists_yet_has_no_receipt_yet(evidence):
    done = Recorded(evidence.root).run("receipt", request_id(evidence, A, 2, 5))
    assert done.exit_code == 1
    assert "the next comes within AUDIT_DIGEST_INTERVAL" in done.stderr


def test_a_call_that_is_not_what_was_listed_gets_no_receipt(evidence, tmp_path):
    copy = evidence.copied(tmp_path)
    path = copy.record(A, 1, 4)
    path.write_bytes(path.read_bytes().replace(b'"ada"', b'"eve"'))
    done = Recorded(copy.root).run("receipt", request_id(copy, A, 1, 4))
    assert done.exit_code == 1
    assert "see `llm-audit verify`" in done.stderr


def test_a_call_that_is_not_there_has_none(evidence):
    done = Recorded(evidence.root).run("receipt", "019abcde-0000-7000-8000-000000000000")
    assert done.exit_code == 1
    assert "there is no call" in done.stderr
