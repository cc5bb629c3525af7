from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_audit.store.keys import ObjectName, check_key, conflict_key, day_prefix, object_key, parse_key

ID = "0192b3c4-5d6e-7f80-9a1b-2c3d4e5f6071"
MS = 1_795_486_253_123  # 2026-11-24T02:10:53.123Z


def test_a_record_lies_under_the_utc_day_of_its_request():
    assert object_key("logs", MS, ID) == f"logs/2026/11/24/{ID}.json"
    assert object_key("audit/logs", MS, ID) == f"audit/logs/2026/11/24/{ID}.json"
    assert object_key("", MS, ID) == f"2026/11/24/{ID}.json"


def test_the_day_changes_at_midnight_utc():
    midnight = 1_795_478_400_000  # 2026-11-24T00:00:00Z

    assert day_prefix("logs", midnight - 1) == "logs/2026/11/23/"
    assert day_prefix("logs", midnight) == "logs/2026/11/24/"


def test_a_conflict_name_says_whose_record_it_is():
    key = conflict_key("logs", MS, ID, "w-0a1b2c3d", 7, 42)

    assert key == f"logs/2026/11/24/{ID}~w-0a1b2c3d-7-42.json"
    assert parse_key(key) == ObjectName(
        "logs", "2026-11-24", f"{ID}~w-0a1b2c3d-7-42", ID, "w-0a1b2c3d", 7, 42
    )


@pytest.mark.parametrize(
    "bad", ["../../x", "%2e%2e", "a" * 300, ID.upper(), ID + "\n", f"{ID}/..", "\0", "", ID.replace("-", "")]
)
def test_only_a_lower_case_uuid_reaches_a_key(bad):
    with pytest.raises(ValueError, match="UUID"):
        object_key("logs", MS, bad)
    with pytest.raises(ValueError, match="UUID"):
        conflict_key("logs", MS, bad, "w-0a1b2c3d", 1, 1)


@pytest.mark.parametrize("writer", ["", "w-", "../w-0a1b2c3d", "w-0A1B2C3D"])
def test_a_malformed_writer_id_never_reaches_a_key(writer):
    with pytest.raises(ValueError, match="writer id"):
        conflict_key("logs", MS, ID, writer, 1, 1)


@pytest.mark.parametrize("prefix", ["../up", "a//b", "/a", "a/", ".hidden"])
def test_a_prefix_that_leaves_its_place_is_refused(prefix):
    with pytest.raises(ValueError, match="cannot name an object"):
        object_key(prefix, MS, ID)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "logs/x.json",
        f"logs/2026/11/24/{ID}",
        f"logs/2026/11/24/{ID}.txt",
        f"logs/{ID}.json",
        f"{ID}~w-1-2.json",
    ],
)
def test_other_names_are_no_records_names(key):
    assert parse_key(key) is None


@given(
    prefix=st.from_regex(r"[a-z0-9_]{1,8}(/[a-z0-9_]{1,8}){0,2}", fullmatch=True),
    ms=st.integers(0, 4_102_444_800_000),
    request_id=st.uuids().map(str),
    position=st.none() | st.tuples(st.integers(0, 2**40), st.integers(0, 2**60)),
)
def test_every_key_reads_back_to_what_made_it(prefix, ms, request_id, position):
    if position is None:
        key = object_key(prefix, ms, request_id)
    else:
        key = conflict_key(prefix, ms, request_id, "w-00ff00ff", *position)

    name = parse_key(key)

    assert name is not None
    assert (name.prefix, name.request_id) == (prefix, request_id)
    assert (name.boot, name.sequence) == (position or (None, None))
    assert key.startswith(day_prefix(prefix, ms))
    assert key == f"{day_prefix(prefix, ms)}{name.stem}.json"
    assert check_key(key) == key
