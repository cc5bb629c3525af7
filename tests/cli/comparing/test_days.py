"""Ranges of whole days."""

from __future__ import annotations

import pytest

from llm_audit.cli.comparing.days import Days, day_folder, whole_days

NOON_MS = 1_795_521_600_000
"""2026-11-24T12:00:00Z"""


def at(text):
    return f"2026-11-{text}.000Z"


@pytest.mark.parametrize(
    ("since", "until", "begin", "end"),
    [
        (None, None, None, None),
        (at("24T11:00:00"), None, "24", "26"),
        (at("23T23:59:59"), at("24T00:00:00"), "23", "24"),
        (at("23T00:00:00"), at("24T00:00:01"), "23", "25"),
        (None, at("24T00:00:00"), None, "24"),
        (at("30T00:00:00"), None, "30", "31"),
    ],
)
def test_a_range_is_widened_to_whole_days(since, until, begin, end):
    days = whole_days(since, until, NOON_MS)
    assert days.since == (begin and at(f"{begin}T00:00:00"))
    assert days.until == (end and at(f"{end}T00:00:00").replace("2026-11-31", "2026-12-01"))


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="is not after"):
        whole_days(at("24T00:00:00"), at("24T00:00:00"), NOON_MS)


def test_a_range_names_its_folders_and_holds_their_keys():
    days = whole_days("2026-12-31T00:00:00.000Z", "2027-01-02T00:00:00.000Z", NOON_MS)
    assert list(days.folders()) == ["2026/12/31", "2027/01/01"]
    assert [days.holds(f) for f in ("2026/12/30", "2026/12/31", "2027/01/01", "2027/01/02")] == [
        False,
        True,
        True,
        False,
    ]
    assert days.words() == "2026-12-31 to 2027-01-01, whole days (UTC)"
    before, after = days.neighbours()
    assert (before.until, after.since) == (days.since, days.until)


def test_a_range_that_is_open_or_of_years_is_listed_as_a_whole():
    assert Days().folders() is None
    assert Days(0, 20_000).folders() is None
    assert Days().neighbours() == ()


def test_a_range_reaches_till_now_or_not():
    today = NOON_MS // 86_400_000
    assert Days().reach(NOON_MS)
    assert Days(1, today).reach(NOON_MS)
    assert not Days(1, today - 1).reach(NOON_MS)


@pytest.mark.parametrize(
    ("key", "prefix", "folder"),
    [
        ("logs/2026/11/24/a.json", "logs", "2026/11/24"),
        ("2026/11/24/a.json", "", "2026/11/24"),
        ("a/b/2026/11/24/a.json", "a/b", "2026/11/24"),
        ("logs/2026/11/24/deeper/a.json", "logs", None),
        ("logs/2026/11/a.json", "logs", None),
        ("logs2/2026/11/24/a.json", "logs", None),
        ("logs/2026/11/24/", "logs", None),
    ],
)
def test_a_keys_day_is_its_folder(key, prefix, folder):
    assert day_folder(key, prefix) == folder
