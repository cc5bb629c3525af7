"""``reconcile``: each way in which a call can be missing or different, really made, and named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid

import pytest

from calls import key_of, record
from journal_traffic import begin_call, call, end_call, open_writer
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.journal.counted import UNAUDITED, Reason
from llm_audit.record.encoding import encode_record
from llm_audit.record.schema import Outcome
from reconciled import System

WRITER, OTHER = "w-0000000a", "w-0000000b"
CLEAN = (0, [])


@pytest.fixture
def system(tmp_path):
    one = System(tmp_path)
    one.write(WRITER, 6)
    one.ship()
    return one


def without_ledger(system):
    """What another machine sees: objects and index, no journal."""
    for path in sorted(system.journal.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def flip_a_byte(path):
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"hello"', b'"jello"').replace(b"hello", b"jello"))
    assert path.read_bytes() != data
    assert path.stat().st_size == len(data)


@pytest.mark.parametrize("how", [(), ("--deep",), ("--deep", "--repair")])
def test_a_sound_system_is_clean_and_counted(system, how):
    system.write(OTHER, 3)
    system.write(WRITER, 2)
    system.ship()

    said = system.reconcile(*how)

    assert (said.exit_code, said.findings) == CLEAN
    assert said.counts() == (11, 11, 11, 0, 0)


# What is missing, or different.


@pytest.mark.parametrize("is_indexed", [True, False])
def test_a_record_that_the_ledger_stored_and_nobody_has_is_missed(system, is_indexed):
    row = system.rows()[2]
    system.object_file(row).unlink()
    if not is_indexed:
        system.drop_items(row)

    said = system.reconcile()

    assert (said.exit_code, said.found()) == (1, [("object-missing", row.key)])
    assert "sequence 2" in said.findings[0]["detail"]
    assert said.counts() == (6, 5, 5, 0, 1)


def test_an_item_that_is_missing_is_named_and_made_again(system):
    rows = system.rows()
    before = system.run("query", "--json").stdout
    system.drop_items(rows[0])
    system.drop_items(rows[5])

    said = system.reconcile()
    assert said.found() == sorted([("item-missing", rows[0].key), ("item-missing", rows[5].key)])
    assert said.counts() == (6, 6, 4, 0, 2)

    repaired = system.reconcile("--repair")
    assert repaired.exit_code == 0
    assert repaired.counts() == (6, 6, 6, 0, 0)
    assert repaired.figures["repaired"] == 2
    assert system.run("query", "--json").stdout == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auditObjectSha256", "0" * 64),
        ("auditObjectKey", "logs/2026/11/24/elsewhere.json"),
        ("auditBucket", "another"),
        ("sequence", 77),
        ("writerId", OTHER),
    ],
)
def test_an_item_that_says_something_else_is_named_and_made_right(system, name, value):
    row = system.rows()[3]
    system.change_item(row, f"{name} = ?", value)

    said = system.reconcile()

    assert said.found() == [("item-differs", row.key)]
    assert name in said.findings[0]["detail"]
    assert system.reconcile("--repair").exit_code == 0
    assert system.reconcile("--deep").findings == []


def test_an_item_that_was_changed_in_anything_shows_when_objects_are_read(system):
    row = system.rows()[3]
    system.change_item(row, "model = 'mine', promptPreview = 'nothing'")

    assert system.reconcile().findings == []
    said = system.reconcile("--deep")

    assert said.found() == [("item-differs", row.key)]
    assert said.findings[0]["detail"] == "the item is another in model, promptPreview"
    assert system.reconcile("--deep", "--repair").exit_code == 0


def test_an_item_under_another_source_is_found_and_the_right_one_made(system):
    row = system.rows()[3]
    system.change_item(row, "id = 'project#mine'")

    assert system.reconcile("--deep").found() == [("item-differs", row.key)]
    repaired = system.reconcile("--deep", "--repair")

    assert ("item-twice", row.key) in repaired.found()
    assert "project#app, project#mine" in repaired.findings[-1]["detail"]
    assert "reindex" in repaired.findings[-1]["toDo"]
    system.run("reindex")
    assert system.reconcile("--deep").findings == []


def test_an_item_whose_object_nobody_stored_is_named(system):
    row = system.rows()[3]
    system.object_file(row).unlink()
    system.drop_rows(row)

    said = system.reconcile()

    assert said.found() == [("item-without-object", row.key)]
    assert said.counts() == (6, 5, 5, 0, 1)


def test_a_changed_object_shows_by_its_size_at_once_and_else_when_it_is_read(system):
    grown, same = system.rows()[1:3]
    system.object_file(grown).write_bytes(system.object_file(grown).read_bytes() + b" ")
    flip_a_byte(system.object_file(same))

    assert system.reconcile().found() == [("object-changed", grown.key)]
    said = system.reconcile("--deep")
    assert said.found() == sorted([("object-changed", grown.key), ("object-changed", same.key)])
    assert said.counts() == (6, 4, 4, 0, 2)


@pytest.mark.parametrize("is_indexed", [True, False])
def test_a_changed_object_is_never_indexed_by_a_repair(system, is_indexed):
    row = system.rows()[2]
    flip_a_byte(system.object_file(row))
    changed = system.object_file(row).read_bytes()
    if not is_indexed:
        system.drop_items(row)
    before = system.run("query", "--json").stdout

    said = system.reconcile("--deep", "--repair")

    assert said.found() == [("object-changed", row.key)]
    assert said.figures["repaired"] == 0
    assert system.run("query", "--json").stdout == before
    assert system.object_file(row).read_bytes() == changed
    if not is_indexed:
        assert system.reconcile("--repair").found() == [("object-changed", row.key)]


def test_without_a_ledger_object_and_item_accuse_each_other_and_stay_as_they_are(system):
    row = system.rows()[2]
    flip_a_byte(system.object_file(row))
    without_ledger(system)
    before = system.run("query", "--json").stdout

    said = system.reconcile("--deep", "--repair")

    assert said.found() == [("digests-disagree", row.key)]
    assert system.run("query", "--json").stdout == before


def test_rubbish_under_a_records_name_is_no_record(system):
    row = system.rows()[2]
    system.object_file(row).write_bytes(b"rubbish")
    without_ledger(system)

    assert system.reconcile("--deep").found() == [("object-unreadable", row.key)]


# Sequences.


@pytest.mark.parametrize("how", [(), ("--deep",)])
@pytest.mark.parametrize("numbers", [(0,), (2,), (3, 4), (5,), (0, 2, 5)])
def test_what_was_removed_everywhere_leaves_a_gap(system, numbers, how):
    rows = system.rows()
    for number in numbers:
        system.object_file(rows[number]).unlink()
        system.drop_items(rows[number])
        if number:
            system.drop_rows(rows[number])
    said = system.reconcile(*how)
    gone = len(numbers)
    assert said.exit_code == 1
    assert said.counts() == (6, 6 - gone, 6 - gone, 0, gone)
    gaps = [one for one in said.findings if one["finding"] == "sequence-gap"]
    assert sum(one["calls"] for one in gaps) == len([number for number in numbers if number])


@pytest.mark.parametrize("number", [0, 3])
def test_without_a_ledger_gaps_show_when_objects_are_read(system, number):
    row = system.rows()[number]
    system.object_file(row).unlink()
    system.drop_items(row)
    without_ledger(system)

    assert system.reconcile().findings == []
    said = system.reconcile("--deep")

    assert said.found() == [("sequence-gap", f"{WRITER}-1-{number}")]
    assert said.counts() == (6, 5, 5, 0, 1)


def test_rows_that_the_ledger_has_forgotten_are_no_gap(system):
    system.write(WRITER, 3)
    system.ship()
    rows = system.rows()
    for number in (0, 1, 3, 8):  # ragged, as records were stored out of order
        system.drop_rows(rows[number])
    system.drop_items(rows[3])

    said = system.reconcile()

    assert said.found() == [("item-missing", rows[3].key)]
    assert said.counts() == (9, 9, 8, 0, 1)


def test_two_calls_with_one_id_are_two_records(system):
    journal = open_writer(system.journal, writer=OTHER)
    same = uuid.uuid4()
    for _ in range(2):
        call(journal, request_id=same)
    journal.close()
    system.ship()
    assert len({row.stem.partition("~")[0] for row in system.rows()}) == 7

    said = system.reconcile("--deep")

    assert (said.exit_code, said.findings) == CLEAN
    assert said.counts() == (8, 8, 8, 0, 0)


# Journals.


def test_a_call_that_ended_and_is_not_stored_is_late_after_the_grace_period(system):
    system.write(WRITER, 2)

    late, early = system.reconcile(), system.reconcile(grace="1h")

    assert [one["finding"] for one in late.findings] == ["not-stored", "not-stored"]
    assert late.counts() == (8, 6, 6, 0, 2)
    assert "boot 2, sequence 1" in late.findings[1]["detail"]
    assert (early.exit_code, early.findings, early.counts()) == (0, [], (8, 6, 6, 2, 0))


def test_what_the_store_has_needs_no_ledger_to_be_seen(system):
    system.write(OTHER, 2)
    saved = {path: path.read_bytes() for path in (system.journal / OTHER).iterdir()}
    system.ship()
    for path, data in saved.items():
        path.write_bytes(data)
    system.ledger_path.unlink()

    said = system.reconcile()

    assert (said.exit_code, said.findings, said.counts()) == (0, [], (8, 8, 8, 0, 0))
    assert any("ledger" in one for one in said.not_looked_at)


def test_a_call_in_flight_is_under_way_while_its_writer_lives(system):
    journal = open_writer(system.journal, writer=OTHER)
    exchange = begin_call(journal)
    try:
        said = system.reconcile()
        assert (said.exit_code, said.findings, said.counts()) == (0, [], (7, 6, 6, 1, 0))
    finally:
        end_call(exchange)
        journal.close()


def test_a_call_that_a_dead_writer_left_open_is_named(system):
    journal = open_writer(system.journal, writer=OTHER)
    begin_call(journal)
    saved = {path: path.read_bytes() for path in (system.journal / OTHER).glob("*.seg")}
    journal.close()
    for path in (system.journal / OTHER).glob("*.seg"):
        path.unlink()
    for path, data in saved.items():
        path.write_bytes(data)

    said = system.reconcile()

    assert said.found() == [("not-ended", OTHER)]
    assert said.counts() == (7, 6, 6, 0, 1)
    assert system.reconcile(grace="1h").counts() == (7, 6, 6, 1, 0)


def test_a_segment_of_the_future_is_a_finding_and_hides_no_other_writer(system):
    system.write(OTHER, 1)
    (segment,) = (system.journal / OTHER).glob("*0.seg")
    data = bytearray(segment.read_bytes())
    for at in (8, 18, 28):
        data[at : at + 2] = b"\xff\x00"
    segment.write_bytes(data)
    system.write("w-0000000c", 1)

    kinds = sorted(one["finding"] for one in system.reconcile().findings)

    assert kinds == ["journal-unreadable", "not-stored"]


def test_calls_that_were_only_counted_are_shown_on_record_or_not(system):
    journal = open_writer(system.journal, writer=OTHER)
    for _ in range(3):
        journal.counts.count(UNAUDITED)
    for status in (429, 429, 403):
        journal.counts.count(Reason(status, "no"))
    live = system.reconcile().figures
    assert (live["unaudited"], live["unauditedUntold"]) == (3, 3)
    assert (live["refusalsCounted"], live["refusalsCountedUntold"]) == (3, 3)
    journal.close()
    system.ship()

    said = system.reconcile("--deep")

    assert (said.figures["unaudited"], said.figures["unauditedUntold"]) == (3, 0)
    assert (said.figures["refusalsCounted"], said.figures["refusalsCountedUntold"]) == (3, 0)
    assert said.figures["countedOnly"] == 6
    assert said.counts() == (9, 9, 9, 0, 0)
    assert "3 calls passed unaudited" in system.run("reconcile").stdout


def test_refusals_are_counted(system):
    journal = open_writer(system.journal, writer=OTHER)
    begin_call(journal).end(Outcome.REJECTED, 403, None, None)
    journal.close()
    system.ship()

    said = system.reconcile()

    assert (said.figures["refusals"], said.counts()) == (1, (7, 7, 7, 0, 0))


# What is compared.


def test_an_object_that_came_just_now_may_still_be_indexed(system):
    system.drop_items(system.rows()[0])

    assert system.reconcile(grace="1h").counts() == (6, 6, 5, 1, 0)


def test_only_the_days_that_are_asked_for_are_compared(system):
    tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400))
    system.drop_items(system.rows()[0])

    for how in (
        ("--since", tomorrow),
        ("--until", "2026-01-01"),
        ("--since", "2020-01-01", "--until", "2021-01-01"),
    ):
        assert system.reconcile(*how).counts() == (0, 0, 0, 0, 0)
    for how in (("--since", "1h"), ("--since", "9w"), ("--since", "1970-01-01"), ("--until", tomorrow)):
        assert system.reconcile(*how).counts() == (6, 6, 5, 0, 1)


def test_other_objects_and_other_prefixes_are_counted_and_no_findings(system):
    system.store.put_new("logs/2026/11/24/notes.json", b'{"a":1}')
    system.store.put_new("logs/readme.txt", b"hello")
    journal = open_writer(system.journal, writer=OTHER, prefix="other")
    call(journal)
    journal.close()
    system.ship()

    said = system.reconcile()

    assert (said.exit_code, said.findings) == CLEAN
    assert (said.figures["otherObjects"], said.figures["elsewhere"]) == (2, 2)
    assert system.reconcile("--prefix", "other").counts() == (1, 1, 1, 0, 0)


def test_a_lost_index_is_built_by_a_repair(system):
    system.index_path.unlink()

    assert system.reconcile().counts() == (6, 6, 0, 0, 6)
    assert system.reconcile("--repair").counts() == (6, 6, 6, 0, 0)


def test_another_machine_says_what_it_did_not_look_at(system):
    without_ledger(system)

    said = system.reconcile()

    assert (said.exit_code, said.counts()) == (0, (6, 6, 6, 0, 0))
    words = "\n".join(said.not_looked_at)
    for one in ("journals", "ledger", "--deep", "sequences"):
        assert one in words
    assert "not looked at" in system.run("reconcile").stderr


def test_records_of_any_origin_are_compared_without_their_journal(tmp_path):
    system = System(tmp_path)
    system.keep([record(n) for n in range(20)])
    lost = tmp_path / "objects" / key_of(record(7))
    lost.unlink()
    index = SqliteIndex(system.index_path)
    index.close()
    system.store.put_new(key_of(record(30)), encode_record(record(30)))

    said = system.reconcile()

    assert said.found() == [("item-missing", key_of(record(30))), ("item-without-object", key_of(record(7)))]
    assert said.counts() == (21, 20, 19, 0, 2)


# As people run it.


def test_people_read_each_finding_and_what_to_do_about_it(system):
    row = system.rows()[0]
    system.drop_items(row)

    said = system.run("reconcile", "--grace", "0s")

    assert said.exit_code == 1
    assert f"item-missing         {row.key} there is an object, and no item" in said.stdout
    assert "to do about item-missing (1): `llm-audit reconcile --repair`" in said.stdout
    assert "6 accepted · 6 recorded · 5 indexed · 0 under way · 1 unexplained" in said.stdout
    assert "1 calls are unexplained" in said.stderr
    repaired = system.run("reconcile", "--grace", "0s", "--repair")
    assert repaired.exit_code == 0
    assert "1 objects were indexed again" in repaired.stdout
    assert "6 accepted · 6 recorded · 6 indexed · 0 under way · 0 unexplained" in repaired.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--since", "yesterday"), "no time"),
        (("--since", "2026-11-24", "--until", "2026-11-24"), "is not after"),
        (("--grace", "soon"), "no duration"),
        (("--unknown",), "No such option"),
    ],
)
def test_wrong_usage_is_said_and_exits_with_2(system, arguments, words):
    said = system.run("reconcile", *arguments)

    assert said.exit_code == 2
    assert words in said.stderr


def test_nothing_at_all_is_no_clean_comparison(tmp_path):
    said = System(tmp_path / "typo").run("reconcile")

    assert said.exit_code == 1
    assert "nothing to compare" in said.stderr


def test_it_runs_as_a_program_of_its_own(system):
    system.drop_items(system.rows()[1])
    command = [sys.executable, "-m", "llm_audit", *system.arguments("reconcile", "--grace", "0s", "--json")]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AUDIT_")}

    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line.get("finding") for line in lines] == ["item-missing", None]
    assert lines[-1]["figures"]["unexplained"] == 1
