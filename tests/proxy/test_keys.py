import json
import logging
import os
import stat
import subprocess
import sys

import pytest

from llm_audit.proxy.keys import (
    KEY_PREFIX,
    Key,
    KeyFileError,
    KeyRing,
    KeySet,
    check_key_id,
    digest_of,
    new_key,
    read_keys,
    write_keys,
)
from llm_audit.proxy.usage_plan import NO_LIMITS, Limits

CREATED = "2026-11-24T00:00:00.000Z"


def key(key_id="finance", digest="0" * 64, sources=frozenset({"finance-app"}), limits=NO_LIMITS):
    return Key(key_id, digest, sources, limits, enabled=True, created=CREATED)


FINANCE = key(digest=digest_of("one"), limits=Limits.of(2.5, 10, 1000))
HR = key("hr", digest_of("two"), None)
GATEWAY = key("a1b2c3d4e5", None, frozenset({"Zoë's app", "hr-app"}))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.json"


def test_keys_are_read_as_they_were_written(file):
    write_keys(file, KeySet((FINANCE, HR, GATEWAY)))
    assert read_keys(file).keys == (FINANCE, HR, GATEWAY)


def test_the_file_is_private_and_holds_no_key(file):
    secret = new_key()
    write_keys(file, KeySet((key(digest=digest_of(secret)),)))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret not in file.read_text()
    assert secret.removeprefix(KEY_PREFIX) not in file.read_text()
    assert [path.name for path in file.parent.iterdir()] == ["keys.json"]


def test_a_key_has_256_random_bits_and_is_found_by_itself_alone(file):
    secrets = {new_key() for _ in range(50)}
    assert len(secrets) == 50
    secret = secrets.pop()
    assert len(secret.removeprefix(KEY_PREFIX)) * 6 >= 256
    keys = KeySet((FINANCE, key("mine", digest_of(secret)), GATEWAY))
    found = keys.find(secret.encode())
    assert found is not None
    assert found.id == "mine"
    assert all(keys.find(other.encode()) is None for other in secrets)
    assert keys.find(b"") is None
    assert keys.find(b"a1b2c3d4e5") is None


def test_the_gateway_s_key_ids_are_found_by_id_alone():
    keys = KeySet((FINANCE, GATEWAY))
    assert keys.find_gateway_key("a1b2c3d4e5") == GATEWAY
    assert keys.find_gateway_key("finance") is None
    assert keys.binds_gateway_keys
    assert not KeySet((FINANCE,)).binds_gateway_keys


@pytest.mark.parametrize(
    "twin", [key("finance", "1" * 64), key("other", FINANCE.sha256), key("finance", None)]
)
def test_no_two_keys_share_an_id_or_a_digest(twin):
    with pytest.raises(KeyFileError, match="same id or the same digest"):
        KeySet((FINANCE, twin))


def test_a_write_through_a_symbolic_link_keeps_the_link(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "keys.json"
    link.symlink_to(tmp_path / "real" / "keys.json")
    write_keys(link, KeySet((FINANCE,)))
    assert link.is_symlink()
    assert read_keys(tmp_path / "real" / "keys.json").keys == (FINANCE,)


GOOD_ENTRY = {
    "id": "finance",
    "sha256": "0" * 64,
    "sources": ["finance-app"],
    "rate": 1,
    "burst": 2,
    "dailyQuota": 3,
    "enabled": True,
    "created": CREATED,
}


def with_entry(**changes):
    return json.dumps({"version": 1, "keys": [{**GOOD_ENTRY, **changes}]}).encode()


def without_member(name):
    return json.dumps({"version": 1, "keys": [{k: v for k, v in GOOD_ENTRY.items() if k != name}]}).encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b'{"version": 1, "keys": [', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "version 'list'"),
        (b"{}", "version None"),
        (b'{"version": 2}', "version 2"),
        (b'{"version": 1, "keys": {}}', "'keys' must be a list"),
        (b'{"version": 1, "gatewayKeys": 1}', "'gatewayKeys' must be a list"),
        (b'{"version": 1, "keys": [1]}', "entry 1 of 'keys': must be an object"),
        (without_member("dailyQuota"), "['dailyQuota']"),
        (with_entry(quota=3), "['quota']"),
        (with_entry(id="fin ance"), "can't name a key"),
        (with_entry(id=None), "'id' must be a string"),
        (with_entry(sha256="0" * 63), "64 lower-case hex digits"),
        (with_entry(sha256="A" * 64), "64 lower-case hex digits"),
        (with_entry(sha256=None), "64 lower-case hex digits"),
        (with_entry(sources=[]), "'sources' must be null (any)"),
        (with_entry(sources="finance-app"), "'sources' must be null (any)"),
        (with_entry(sources=["a#b"]), "no caller could name the source 'a#b'"),
        (with_entry(sources=["-"]), "placeholder"),
        (with_entry(rate=0), "rate must be"),
        (with_entry(rate=-1), "rate must be"),
        (with_entry(rate="1"), "rate must be"),
        (with_entry(rate=True), "rate must be"),
        (with_entry(rate=None), "needs a rate"),
        (with_entry(burst=0), "burst must be"),
        (with_entry(burst=1.5), "burst must be"),
        (with_entry(dailyQuota=0), "daily quota must be"),
        (with_entry(enabled=1), "'enabled' must be"),
        (with_entry(enabled="false"), "'enabled' must be"),
        (with_entry(created=None), "'created' a time"),
    ],
)
def test_a_file_that_is_not_what_it_must_be_is_refused_with_place_and_reason(file, content, reason):
    file.write_bytes(content)
    with pytest.raises(KeyFileError) as caught:
        read_keys(file)
    assert str(file) in str(caught.value)
    assert reason in str(caught.value)


def test_a_missing_file_is_refused_by_name(file):
    with pytest.raises(KeyFileError, match=r"keys\.json can't be read: No such file"):
        KeyRing(file)


def test_a_ring_sees_a_change_within_a_second_and_not_before(file):
    write_keys(file, KeySet((FINANCE,)))
    ring = KeyRing(file)
    assert ring.refresh(100.0).keys == (FINANCE,)
    write_keys(file, KeySet((FINANCE, HR)))
    assert ring.refresh(100.9).keys == (FINANCE,)
    assert ring.refresh(101.0).keys == (FINANCE, HR)


def test_a_ring_sees_a_change_that_keeps_size_and_time(file):
    write_keys(file, KeySet((FINANCE,)))
    os.utime(file, ns=(1, 1))
    ring = KeyRing(file)
    write_keys(file, KeySet((key(digest=digest_of("six"), limits=FINANCE.limits),)))
    os.utime(file, ns=(1, 1))
    assert ring.refresh(0.0).find(b"six")
    assert not ring.refresh(0.0).find(b"one")


def test_a_broken_file_keeps_the_last_good_keys_and_says_so_once(file, caplog):
    write_keys(file, KeySet((FINANCE,)))
    ring = KeyRing(file)
    file.write_bytes(b'{"version": 1, "keys"')
    with caplog.at_level(logging.INFO, logger="llm_audit"):
        for now in (0.0, 1.0, 2.0, 3.0):
            assert ring.refresh(now).keys == (FINANCE,)
    assert len(caplog.records) == 1
    assert "the 1 keys read before stay in force" in caplog.text
    assert ring.problem is not None
    write_keys(file, KeySet((HR,)))
    assert ring.refresh(4.0).keys == (HR,)
    assert ring.problem is None


def test_a_file_that_vanishes_keeps_the_last_good_keys_until_it_is_back(file):
    write_keys(file, KeySet((FINANCE,)))
    ring = KeyRing(file)
    file.unlink()
    assert ring.refresh(0.0).keys == (FINANCE,)
    assert "can't be read" in str(ring.problem)
    write_keys(file, KeySet())
    assert ring.refresh(1.0).keys == ()


EDITING = """
import sys
from pathlib import Path
from llm_audit.proxy.keys import Key, KeySet, digest_of, read_keys, sole_editor, write_keys
from llm_audit.proxy.usage_plan import NO_LIMITS
path, name = Path(sys.argv[1]), sys.argv[2]
for number in range(10):
    with sole_editor(path):
        key = Key(f"{name}-{number}", digest_of(f"{name}-{number}"), None, NO_LIMITS, True, "")
        write_keys(path, KeySet((*read_keys(path).keys, key)))
"""


def test_editors_at_the_same_time_lose_none_of_each_other_s_keys(file):
    write_keys(file, KeySet())
    editors = [subprocess.Popen([sys.executable, "-c", EDITING, file, name]) for name in "abc"]
    assert [editor.wait() for editor in editors] == [0, 0, 0]
    assert len(read_keys(file).keys) == 30


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a" * 65, "ä", "a\n"])
def test_a_key_id_is_a_short_plain_word(name):
    with pytest.raises(ValueError, match="can't name a key"):
        check_key_id(name)
    assert check_key_id("team-1.prod_x") == "team-1.prod_x"
