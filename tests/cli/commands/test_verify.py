"""``llm-audit verify`` as people and scripts call it."""

import json

import pytest

from evidence import A, B, honest
from recorded import Recorded


@pytest.fixture
def evidence(tmp_path):
    return honest(tmp_path)


def verify(evidence, *options):
    run = Recorded(evidence.root).run("verify", "--jobs", "1", *options)
    assert "Traceback" not in run.output
    return run


def test_a_sound_store_is_said_to_be_so_with_the_digests_to_keep(evidence):
    done = verify(evidence, "--key", str(evidence.keys))

    assert done.exit_code == 0, done.output
    assert "21 records listed · 21 intact · 8 digests · 2 writers · 0 findings" in done.stdout
    assert "1 stored since the last digest, and not proven yet" in done.stdout
    assert done.stdout.count("last digest, to be kept outside: ") == 2


def test_a_finding_is_named_with_its_object_and_the_records_affected_and_ends_with_one(evidence):
    evidence.record(A, 1, 4).unlink()

    done = verify(evidence, "--key", str(evidence.keys))

    assert done.exit_code == 1
    assert f"missing          {evidence.places[A, 1, 4]}" in done.stdout
    assert f"[{A}, boot 1 sequence 4]" in done.stdout
    assert "1 findings" in done.stderr


def test_json_lines_are_the_findings_and_then_the_figures(evidence):
    evidence.digest(A, 3).unlink()

    done = verify(evidence, "--json", "--key", str(evidence.keys))

    finding, last = map(json.loads, done.stdout.splitlines())
    assert (finding["finding"], finding["object"]) == ("chain-gap", evidence.digests[A, 4])
    assert (finding["writer"], finding["first"], finding["last"]) == (A, [1, 9], [2, 0])
    assert last["figures"]["intact"] == 21
    assert last["figures"]["findings"] == 1


def test_what_is_printed_to_be_kept_can_be_given_as_a_pin(evidence):
    heads = json.loads(verify(evidence, "--json", "--key", str(evidence.keys)).stdout)["heads"]
    pins = [option for head in heads for option in ("--pin", head)]
    assert verify(evidence, "--key", str(evidence.keys), *pins).exit_code == 0

    evidence.digest(A, 5).unlink()

    assert verify(evidence, "--key", str(evidence.keys)).exit_code == 0
    done = verify(evidence, "--key", str(evidence.keys), *pins)
    assert done.exit_code == 1
    assert f"truncated        digests/{A}" in done.stdout


def test_several_processes_find_what_one_finds(evidence):
    evidence.record(A, 1, 4).unlink()
    evidence.record(B, 0, 1).write_bytes(b"{}")

    one = verify(evidence, "--json", "--key", str(evidence.keys))
    two = verify(evidence, "--json", "--key", str(evidence.keys), "--jobs", "2")

    assert one.stdout == two.stdout
    assert one.exit_code == two.exit_code == 1


def test_without_a_public_key_nothing_is_said_to_be_proven(evidence):
    done = verify(evidence)
    assert done.exit_code == 2
    assert "give --key" in done.stderr


@pytest.mark.parametrize("pin", ["w-0000000a", "w-0000000a:1:zz", "x:1:" + "0" * 64])
def test_a_pin_in_another_form_is_refused(evidence, pin):
    done = verify(evidence, "--key", str(evidence.keys), "--pin", pin)
    assert done.exit_code == 2
    assert "expected WRITER:NUMBER:SHA256" in done.stderr


def test_a_file_that_is_no_key_is_refused(evidence, tmp_path):
    other = tmp_path / "other.pem"
    other.write_text("hello")
    done = verify(evidence, "--key", str(other))
    assert done.exit_code == 1
    assert "no public key in PEM form" in done.stderr


def test_a_store_without_digests_is_a_finding(evidence, tmp_path):
    done = Recorded(tmp_path / "empty").run("verify", "--jobs", "1", "--key", str(evidence.keys))
    assert done.exit_code == 1
    assert "there is no digest" in done.stdout
