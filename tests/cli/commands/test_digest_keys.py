"""The key that signs digests: made, listed, replaced."""

import json
import stat

import pytest

from llm_audit.integrity.signatures import new_private_key, read_private_key
from recorded import Recorded


@pytest.fixture
def run(tmp_path):
    def keys(*arguments, code=0):
        done = Recorded(tmp_path).run("digest-keys", *arguments)
        assert done.exit_code == code, done.output
        return done

    return keys


def lines(done) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_new_key_is_readable_by_its_owner_alone_and_its_public_half_is_printed(run, tmp_path):
    done = run("new")
    path = tmp_path / "keys" / "digest.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    key = read_private_key(path.read_bytes()).public
    assert done.stdout == key.pem
    assert key.id in done.stderr
    assert (tmp_path / "keys" / "public" / f"{key.id}.pem").read_text() == key.pem
    assert "PRIVATE" not in done.output


def test_a_key_that_is_there_is_not_overwritten(run, tmp_path):
    run("new")
    before = (tmp_path / "keys" / "digest.pem").read_bytes()
    assert "rotate" in run("new", code=1).stderr
    assert (tmp_path / "keys" / "digest.pem").read_bytes() == before


def test_a_replaced_key_signs_no_more_and_its_public_half_stays(run, tmp_path):
    (old,) = lines(run("new", "--json"))
    (new,) = lines(run("rotate", "--json"))
    assert new["id"] != old["id"]
    assert [(one["id"], one["inUse"]) for one in lines(run("list", "--json"))] == [
        (new["id"], True),
        (old["id"], False),
    ]
    assert read_private_key((tmp_path / "keys" / "digest.pem").read_bytes()).public.id == new["id"]


def test_a_key_that_everybody_can_read_is_refused(run, tmp_path):
    run("new")
    (tmp_path / "keys" / "digest.pem").chmod(0o644)
    assert "chmod o-rwx" in run("list", code=1).stderr


def test_a_missing_key_is_said_with_what_makes_one(run):
    assert "digest-keys new" in run("list", code=1).stderr
    assert "digest-keys new" in run("rotate", code=1).stderr


def test_a_key_of_another_kind_is_refused(run, tmp_path):
    path = tmp_path / "other.pem"
    path.write_text(new_private_key().public.pem)
    path.chmod(0o600)
    assert "no private key" in run("list", "--digest-key", str(path), code=1).stderr


def test_a_key_in_kms_is_made_there(run):
    done = run("new", "--digest-key", "kms:alias/audit", code=2)
    assert "ECC_NIST_P256" in done.stderr
