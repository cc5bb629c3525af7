"""``replay``: what was saved elsewhere comes into store and index."""

from __future__ import annotations

import json
import shutil

import pytest

from calls import record
from journal_traffic import begin_call, call, open_writer
from recorded import Recorded


@pytest.fixture
def recorded(tmp_path):
    return Recorded(tmp_path / "data")


@pytest.fixture
def saved(tmp_path):
    """Give a journal whose writer died in the middle of its last call."""
    writer = open_writer(tmp_path / "rescued" / "journal")
    for n in range(5):
        call(writer, f"question {n}")
    begin_call(writer, "cut short")
    writer.close()
    return tmp_path / "rescued" / "journal"


def listed(recorded):
    lines = recorded.run("query", "--json").stdout.splitlines()
    return {item["promptPreview"]: item["outcome"] for item in map(json.loads, lines)}


def test_a_saved_journal_can_be_queried_afterwards(recorded, saved):
    result = recorded.run("replay", str(saved))

    assert (result.exit_code, result.stderr.strip()) == (0, "")
    assert "6 records stored or found (0 were there already)" in result.stdout
    assert listed(recorded) == {f"user: question {n}": "complete" for n in range(5)} | {
        "user: cut short": "interrupted"
    }


def test_one_writers_folder_will_do_and_a_second_time_changes_nothing(recorded, saved):
    recorded.run("replay", str(saved))
    before = listed(recorded)

    result = recorded.run("replay", str(saved / "w-0a1b2c3d"))

    assert "6 records stored or found (6 were there already)" in result.stdout
    assert listed(recorded) == before


def test_saved_documents_come_back_from_files_or_their_folder(recorded, tmp_path):
    recorded.keep([record(n) for n in range(5)])
    backup = shutil.copytree(recorded.store.root, tmp_path / "backup")
    before = recorded.run("query", "--json").stdout.replace("data/objects", "data2/objects")
    other = Recorded(tmp_path / "data2")

    one = other.run("replay", str(next(backup.rglob("*.json"))))
    everything = other.run("replay", str(backup))

    assert "1 records stored or found (0 were there already)" in one.stdout
    assert "5 records stored or found (1 were there already)" in everything.stdout
    assert other.run("query", "--json").stdout == before


def test_what_is_no_document_is_named_and_the_exit_code_says_so(recorded, tmp_path):
    (tmp_path / "other.json").write_text('{"hello": "world"}')

    result = recorded.run("replay", str(tmp_path / "other.json"))

    assert result.exit_code == 1
    assert "other.json: no audit document" in result.stderr
    assert "1 problems" in result.stderr


@pytest.mark.parametrize("what", ["live", "segment", "empty", "missing"])
def test_what_cannot_be_replayed_is_wrong_usage(recorded, saved, tmp_path, what):
    writer = open_writer(tmp_path / "live")
    (tmp_path / "empty").mkdir()
    arguments = {
        "live": (tmp_path / "live", "ships it by itself"),
        "segment": (next(saved.glob("w-*/*.seg")), "give the folder"),
        "empty": (tmp_path / "empty", "neither a journal"),
        "missing": (tmp_path / "missing", "does not exist"),
    }
    path, message = arguments[what]

    result = recorded.run("replay", str(path))

    writer.close()
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_a_store_that_cannot_be_opened_is_one_clear_line(recorded, saved):
    result = recorded.run("replay", str(saved), environ={"AUDIT_BUCKET": "Not/A/Bucket"})

    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
