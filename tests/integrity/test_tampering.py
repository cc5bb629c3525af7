"""Ways to tamper: each is found, and located, by both verifiers, and both say the same."""

from __future__ import annotations

import json
import random
import shutil

import pytest

from evidence import (
    FIRST_KEY,
    HOUR,
    T0,
    A,
    B,
    Evidence,
    honest,
    new_record,
    sha,
    told,
    verified,
    verified_alone,
)
from llm_audit.integrity.canonical import canonical
from llm_audit.integrity.digests import digest_key
from llm_audit.integrity.signatures import new_private_key
from llm_audit.record.times import iso_from_ms

LUCK = random.Random(11)
TAMPERINGS = {}
PINNED = set()
"""Those that only a digest kept outside can show."""


def tampering(function):
    """Note a way to tamper; it gives what must be found: kinds and objects."""
    TAMPERINGS[function.__name__] = function
    return function


def pinned(function):
    """Note one for which the last digests are known to the auditor."""
    PINNED.add(function.__name__)
    return tampering(function)


def flipped(path, needle: bytes) -> None:
    """Flip a bit of the byte after the first ``needle``."""
    data = bytearray(path.read_bytes())
    at = data.index(needle) + len(needle)
    data[at] ^= 1
    path.write_bytes(data)


def another_character(path, needle: bytes) -> None:
    """Replace the character after the first ``needle`` by another that is a hexadecimal digit and base64."""
    data = bytearray(path.read_bytes())
    at = data.index(needle) + len(needle)
    data[at] = ord("b") if data[at] != ord("b") else ord("c")
    path.write_bytes(data)


@pytest.fixture(scope="session")
def honest_evidence(tmp_path_factory):
    return honest(tmp_path_factory.mktemp("honest"))


@pytest.fixture
def evidence(honest_evidence, tmp_path):
    return honest_evidence.copied(tmp_path)


# --- Objects ---


@tampering
def one_bit_of_a_body(e: Evidence):
    flipped(e.record(A, 1, 4), b'"bodyText":"')
    return {("modified", e.places[A, 1, 4])}


@tampering
def one_bit_of_a_head(e: Evidence):
    flipped(e.record(A, 1, 4), b'"user":"')
    return {("modified", e.places[A, 1, 4])}


@tampering
def one_bit_of_a_sequence(e: Evidence):
    flipped(e.record(A, 1, 4), b'"sequence":')
    return {("modified", e.places[A, 1, 4])}


@tampering
def the_last_byte_cut_off(e: Evidence):
    path = e.record(A, 1, 4)
    path.write_bytes(path.read_bytes()[:-1])
    return {("truncated", e.places[A, 1, 4])}


@tampering
def an_object_emptied(e: Evidence):
    e.record(A, 1, 4).write_bytes(b"")
    return {("truncated", e.places[A, 1, 4])}


@tampering
def bytes_appended(e: Evidence):
    path = e.record(A, 1, 4)
    path.write_bytes(path.read_bytes() + b" ")
    return {("modified", e.places[A, 1, 4])}


@tampering
def the_same_json_in_other_words(e: Evidence):
    path = e.record(B, 0, 2)
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=1))
    return {("modified", e.places[B, 0, 2])}


@tampering
def an_object_replaced_by_a_copy_of_another(e: Evidence):
    shutil.copy(e.record(B, 0, 1), e.record(B, 0, 4))
    return {("reordered", e.places[B, 0, 4])}


@tampering
def two_objects_swapped(e: Evidence):
    one, two = e.record(B, 0, 1), e.record(B, 0, 4)
    data = one.read_bytes()
    shutil.copy(two, one)
    two.write_bytes(data)
    return {("reordered", e.places[B, 0, 1]), ("reordered", e.places[B, 0, 4])}


@tampering
def the_first_record_deleted(e: Evidence):
    e.record(A, 1, 0).unlink()
    return {("missing", e.places[A, 1, 0])}


@tampering
def a_record_in_the_middle_deleted(e: Evidence):
    e.record(A, 1, 5).unlink()
    return {("missing", e.places[A, 1, 5])}


@tampering
def the_last_listed_record_deleted(e: Evidence):
    e.record(A, 2, 4).unlink()
    return {("missing", e.places[A, 2, 4])}


@tampering
def a_late_record_deleted(e: Evidence):
    e.record(A, 1, 3).unlink()
    return {("missing", e.places[A, 1, 3])}


@tampering
def all_records_of_an_hour_deleted(e: Evidence):
    gone = [e.places[A, 1, n] for n in (0, 1, 2, 4, 5)]
    for key in gone:
        e.path(key).unlink()
    return {("missing", key) for key in gone}


@tampering
def all_records_deleted(e: Evidence):
    shutil.rmtree(e.objects / "logs")
    return {("missing", key) for spot, key in e.places.items() if spot != (A, 2, 5)}


@tampering
def an_object_copied_under_another_name(e: Evidence):
    key = e.places[B, 0, 2].replace(".json", f"~{B}-0-2.json")
    e.put(key, e.record(B, 0, 2).read_bytes())
    return {("duplicated", key)}


@tampering
def an_object_renamed(e: Evidence):
    old = e.places[B, 0, 2]
    new = f"{old[:-6]}{'0' if old[-6] != '0' else '1'}.json"
    e.record(B, 0, 2).rename(e.path(new))
    return {("missing", old), ("duplicated", new)}


@tampering
def an_object_moved_to_another_day(e: Evidence):
    old = e.places[B, 0, 2]
    new = old.replace("2026/11/24", "2026/11/25")
    e.put(new, e.record(B, 0, 2).read_bytes())
    e.record(B, 0, 2).unlink()
    return {("missing", old), ("duplicated", new)}


def forged(e: Evidence, spot, previous) -> str:
    key, data = new_record(LUCK, spot, previous, T0 + 99_000)
    return e.put(key, data)


@tampering
def a_forged_record_in_the_place_of_another(e: Evidence):
    return {("duplicated", forged(e, (A, 1, 4), None))}


@tampering
def a_forged_record_after_the_end_of_an_old_boot(e: Evidence):
    return {("unlisted", forged(e, (A, 1, 10), sha(e.record(A, 1, 9).read_bytes())))}


@tampering
def a_forged_record_after_the_newest(e: Evidence):
    return {("chain-gap", forged(e, (A, 2, 6), "0" * 64))}


@tampering
def two_forged_records_for_the_next_place(e: Evidence):
    previous = sha(e.record(A, 2, 5).read_bytes())
    keys = sorted([forged(e, (A, 2, 6), previous), forged(e, (A, 2, 6), previous)])
    return {("duplicated", keys[1])}


@tampering
def a_forged_record_of_a_writer_that_never_was(e: Evidence):
    return {("unlisted", forged(e, ("w-0badc0de", 1, 0), None))}


@tampering
def a_file_that_is_no_record(e: Evidence):
    return {("unlisted", e.put("logs/2026/11/24/notes.txt", b"nothing to see"))}


@tampering
def the_newest_record_changed_before_a_digest_lists_it(e: Evidence):
    _, data = new_record(LUCK, (A, 2, 5), "0" * 64, T0)
    e.record(A, 2, 5).write_bytes(data)
    return {("chain-gap", e.places[A, 2, 5])}


@tampering
def the_newest_record_cut_before_a_digest_lists_it(e: Evidence):
    path = e.record(A, 2, 5)
    path.write_bytes(path.read_bytes()[:-1])
    return {("unlisted", e.places[A, 2, 5])}


# --- Digests, by one who has no key ---


@tampering
def one_bit_of_a_signed_head(e: Evidence):
    flipped(e.digest(A, 1), b'"late":')
    return {
        ("bad-signature", e.digests[A, 1]),
        ("reordered", e.digests[A, 1]),
        ("chain-gap", e.digests[A, 2]),
    }


@tampering
def one_character_of_a_signature(e: Evidence):
    another_character(e.digest(A, 1), b'"value":"')
    return {("bad-signature", e.digests[A, 1]), ("chain-gap", e.digests[A, 2])}


@tampering
def one_digit_of_a_listed_sha256(e: Evidence):
    path = e.digest(B, 0)
    listed = json.loads(path.read_bytes())["entries"][0]
    another_character(path, b'"sha256":"')
    return {
        ("modified", e.digests[B, 0]),
        ("modified", listed["key"]),
        ("chain-gap", e.digests[B, 1]),
        *_broken_after(e, listed),
    }


def _broken_after(e: Evidence, listed) -> set:
    """Give the record after one whose listed digest was changed: it names another."""
    after = e.places.get((B, 0, listed["sequence"] + 1))
    return {("chain-gap", after)} if after else set()


@tampering
def an_entry_taken_out_with_its_object(e: Evidence):
    path = e.digest(B, 0)
    document = json.loads(path.read_bytes())
    gone = next(entry for entry in document["entries"] if entry["sequence"] == 2)
    document["entries"].remove(gone)
    path.write_bytes(canonical(document))
    e.record(B, 0, 2).unlink()
    return {
        ("modified", e.digests[B, 0]),
        ("chain-gap", e.digests[B, 1]),
    }


@tampering
def a_changed_object_listed_so_and_not_signed(e: Evidence):
    flipped(e.record(B, 0, 5), b'"bodyText":"')
    path = e.digest(B, 0)
    document = json.loads(path.read_bytes())
    for entry in document["entries"]:
        if entry["sequence"] == 5:
            entry["sha256"] = sha(e.record(B, 0, 5).read_bytes())
    path.write_bytes(canonical(document))
    return {("modified", e.digests[B, 0]), ("chain-gap", e.digests[B, 1])}


@tampering
def a_digest_signed_by_a_key_that_nobody_knows(e: Evidence):
    e.changed(B, 1, key=new_private_key())
    return {("unknown-key", e.digests[B, 1])}


@tampering
def a_digest_signed_by_another_key_in_the_name_of_the_right_one(e: Evidence):
    path = e.digest(B, 1)
    document = json.loads(path.read_bytes())
    document["signature"]["value"] = new_private_key().sign(canonical(document["head"])).document()["value"]
    path.write_bytes(canonical(document))
    return {("bad-signature", e.digests[B, 1])}


@tampering
def a_signature_of_another_algorithm(e: Evidence):
    path = e.digest(B, 1)
    document = json.loads(path.read_bytes())
    document["signature"]["algorithm"] = "none"
    path.write_bytes(canonical(document))
    return {("bad-signature", e.digests[B, 1])}


@tampering
def a_digest_deleted(e: Evidence):
    e.digest(A, 4).unlink()
    return {
        ("chain-gap", e.digests[A, 5]),
    }


@tampering
def an_empty_digest_deleted(e: Evidence):
    e.digest(A, 3).unlink()
    return {("chain-gap", e.digests[A, 4])}


@tampering
def the_first_digests_deleted(e: Evidence):
    e.digest(A, 0).unlink()
    e.digest(A, 1).unlink()
    return {
        ("chain-gap", e.digests[A, 2]),
        *(("unlisted", e.places[A, 1, n]) for n in (0, 1, 2, 4, 5)),
    }


@tampering
def two_digests_in_the_middle_deleted(e: Evidence):
    e.digest(A, 1).unlink()
    e.digest(A, 2).unlink()
    return {("chain-gap", e.digests[A, 3]), *(("unlisted", e.places[A, 1, n]) for n in range(10))}


@tampering
def all_digests_of_a_writer_deleted(e: Evidence):
    shutil.rmtree(e.objects / "digests" / B)
    return {("unlisted", e.places[B, 0, n]) for n in range(6)}


@pinned
def the_newest_digest_deleted(e: Evidence):
    e.digest(A, 5).unlink()
    return {("truncated", f"digests/{A}")}


@pinned
def the_newest_records_deleted_with_their_digests(e: Evidence):
    for number in (4, 5):
        e.digest(A, number).unlink()
    for sequence in range(6):
        e.record(A, 2, sequence).unlink()
    return {("truncated", f"digests/{A}")}


@pinned
def everything_deleted(e: Evidence):
    shutil.rmtree(e.objects)
    e.objects.mkdir()
    return {("truncated", f"digests/{A}"), ("truncated", f"digests/{B}")}


@tampering
def a_digest_rolled_back_to_the_one_before(e: Evidence):
    shutil.copy(e.digest(A, 3), e.digest(A, 4))
    return {
        ("reordered", e.digests[A, 4]),
        ("chain-gap", e.digests[A, 5]),
    }


@tampering
def a_digest_replayed_as_the_next(e: Evidence):
    key = digest_key(A, 6, T0 + 5 * HOUR)
    shutil.copy(e.digest(A, 5), e.path(key))
    return {("reordered", key)}


@tampering
def the_digest_of_another_writer(e: Evidence):
    shutil.copy(e.digest(A, 0), e.digest(B, 0))
    return {
        ("reordered", e.digests[B, 0]),
        ("chain-gap", e.digests[B, 1]),
    }


@tampering
def a_digest_moved_to_another_day(e: Evidence):
    key = e.digests[B, 1].replace("2026/11/24", "2026/11/25")
    e.put(key, e.digest(B, 1).read_bytes())
    e.digest(B, 1).unlink()
    return {("reordered", key)}


@tampering
def a_digest_cut_short(e: Evidence):
    path = e.digest(A, 1)
    path.write_bytes(path.read_bytes()[:300])
    return {
        ("unreadable", e.digests[A, 1]),
        ("chain-gap", e.digests[A, 2]),
        *(("unlisted", e.places[A, 1, n]) for n in (0, 1, 2, 4, 5)),
    }


@tampering
def a_digest_emptied(e: Evidence):
    e.digest(A, 3).write_bytes(b"")
    return {("unreadable", e.digests[A, 3]), ("chain-gap", e.digests[A, 4])}


@tampering
def a_digest_in_other_words(e: Evidence):
    path = e.digest(B, 1)
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=1))
    return {("unreadable", e.digests[B, 1])}


@tampering
def a_member_given_twice(e: Evidence):
    path = e.digest(B, 1)
    path.write_bytes(path.read_bytes().replace(b'"late":0', b'"late":9,"late":0'))
    return {("unreadable", e.digests[B, 1])}


@tampering
def a_file_among_the_digests(e: Evidence):
    return {("unlisted", e.put(f"digests/{A}/README", b"hello"))}


# --- Digests, by one who has a key ---


@pinned
def a_chain_written_anew_by_who_has_the_key(e: Evidence):
    e.changed(A, 4, madeBy="somebody else")
    return {("modified", f"digests/{A}")}


@tampering
def a_fork_signed_with_the_key(e: Evidence):
    end = T0 + 2 * HOUR + 24 * HOUR
    key = e.changed(
        B, 1, to=iso_from_ms(end), key_of_file=digest_key(B, 1, end), relink=False, madeBy="somebody else"
    )
    return {("duplicated", key)}


@tampering
def a_number_left_out_and_signed(e: Evidence):
    new = digest_key(B, 2, T0 + 2 * HOUR)
    e.changed(B, 1, number=2, key_of_file=new)
    e.digest(B, 1).unlink()
    return {("chain-gap", new)}


@tampering
def a_digest_that_follows_another_signed(e: Evidence):
    e.changed(A, 5, previousSha256="0" * 64)
    return {("chain-gap", e.digests[A, 5])}


@tampering
def a_first_digest_that_follows_one_signed(e: Evidence):
    e.changed(B, 0, previousSha256="0" * 64)
    return {("chain-gap", e.digests[B, 0])}


@tampering
def a_period_that_begins_before_the_last_ended_signed(e: Evidence):
    e.changed(A, 5, **{"from": iso_from_ms(T0)})
    return {("clock-backwards", e.digests[A, 5])}


@tampering
def a_period_that_ends_before_it_begins_signed(e: Evidence):
    e.changed(A, 5, to=iso_from_ms(T0))
    return {("clock-backwards", e.digests[A, 5])}


@tampering
def a_period_left_out_signed(e: Evidence):
    e.changed(A, 5, **{"from": iso_from_ms(T0 + 5 * HOUR)})
    return {("chain-gap", e.digests[A, 5])}


@tampering
def a_range_that_leaves_out_records_signed(e: Evidence):
    gone = e.places[A, 2, 0]
    e.changed(A, 4, entries=lambda all_: [one for one in all_ if one["key"] != gone], first=1)
    e.record(A, 2, 0).unlink()
    return {("chain-gap", e.digests[A, 4])}


@tampering
def a_record_left_out_and_counted_signed(e: Evidence):
    gone = e.places[A, 1, 5]
    e.changed(A, 1, key=FIRST_KEY, entries=lambda all_: [one for one in all_ if one["key"] != gone], last=5,
              relink=False)  # fmt: skip
    e.record(A, 1, 5).unlink()
    return {("reordered", e.digests[A, 1]), ("chain-gap", e.digests[A, 2]), ("missing", e.digests[A, 1])}


@tampering
def a_record_in_the_middle_left_out_signed(e: Evidence):
    gone = e.places[A, 1, 4]
    e.changed(
        A, 1, key=FIRST_KEY, entries=lambda all_: [one for one in all_ if one["key"] != gone], relink=False
    )
    e.record(A, 1, 4).unlink()
    return {("chain-gap", e.digests[A, 2]), ("missing", e.digests[A, 1])}


@tampering
def a_range_claimed_twice_signed(e: Evidence):
    def twice(entries):
        return [*entries, *json.loads(e.digest(A, 1).read_bytes())["entries"]]

    e.changed(A, 2, key=FIRST_KEY, entries=lambda all_: sorted(twice(all_), key=lambda x: x["key"]), first=4,
              late=4, relink=False)  # fmt: skip
    return {("duplicated", e.digests[A, 2]), ("chain-gap", e.digests[A, 3])}


@tampering
def entries_out_of_order_signed(e: Evidence):
    e.changed(B, 0, entries=lambda all_: all_[::-1])
    return {("reordered", e.digests[B, 0])}


@tampering
def an_entry_given_twice_signed(e: Evidence):
    e.changed(B, 0, entries=lambda all_: [all_[0], *all_])
    return {("duplicated", e.digests[B, 0])}


@tampering
def two_records_listed_in_each_others_place_signed(e: Evidence):
    def swap(entries):
        one, two = (next(x for x in entries if x["sequence"] == n) for n in (1, 2))
        one["sequence"], two["sequence"] = 2, 1
        return entries

    e.changed(B, 0, entries=swap)
    return {
        ("reordered", e.places[B, 0, 1]),
        ("reordered", e.places[B, 0, 2]),
        ("chain-gap", e.places[B, 0, 3]),
    }


@tampering
def a_record_replaced_and_listed_so_signed(e: Evidence):
    previous = sha(e.record(B, 0, 1).read_bytes())
    key, data = new_record(LUCK, (B, 0, 2), previous, T0 + 2000)
    e.put(key, data)
    e.record(B, 0, 2).unlink()

    def replace(entries):
        for one in entries:
            if one["sequence"] == 2:
                one |= {"key": key, "sha256": sha(data), "size": len(data)}
        return sorted(entries, key=lambda x: x["key"])

    e.changed(B, 0, entries=replace)
    return {("chain-gap", e.places[B, 0, 3])}


@tampering
def a_size_that_is_not_the_objects_signed(e: Evidence):
    key = json.loads(e.digest(B, 0).read_bytes())["entries"][0]["key"]
    e.changed(B, 0, entries=lambda all_: [all_[0] | {"size": all_[0]["size"] + 1}, *all_[1:]])
    return {("truncated", key)}


@tampering
def a_record_listed_again_with_other_contents_signed(e: Evidence):
    again = json.loads(e.digest(A, 1).read_bytes())["entries"][0]
    e.changed(
        A,
        4,
        entries=lambda all_: sorted([*all_, again | {"sha256": "0" * 64}], key=lambda x: x["key"]),
        late=1,
    )
    return {("modified", again["key"]), ("duplicated", again["key"])}


@tampering
def another_object_listed_for_a_listed_place_signed(e: Evidence):
    key, data = new_record(LUCK, (A, 1, 4), sha(e.record(A, 1, 3).read_bytes()), T0)
    e.put(key, data)
    more = {"boot": 1, "key": key, "sequence": 4, "sha256": sha(data), "size": len(data)}
    e.changed(A, 4, entries=lambda all_: sorted([*all_, more], key=lambda x: x["key"]), late=1)
    return {("duplicated", key)}


@tampering
def a_replaced_key_that_signs_again(e: Evidence):
    e.changed(A, 5, key=FIRST_KEY)
    return {("unknown-key", e.digests[A, 5])}


@tampering
def a_count_that_is_not_that_of_the_entries_signed(e: Evidence):
    e.changed(B, 0, entries=lambda all_: all_, is_counted=False, late=2)
    return {("reordered", e.digests[B, 0])}


@tampering
def a_head_of_another_type_signed(e: Evidence):
    e.changed(B, 1, type="llm-audit-digest/9")
    return {("unreadable", e.digests[B, 1])}


@tampering
def a_head_with_a_member_more_signed(e: Evidence):
    e.changed(B, 1, note="trust me")
    return {("unreadable", e.digests[B, 1])}


# --- The tests ---


def test_there_are_at_least_forty_ways_to_tamper():
    assert len(TAMPERINGS) >= 40


def test_nothing_is_found_where_nothing_was_tampered_with(evidence):
    findings, figures = verified(evidence.objects, evidence.keys, evidence.heads())
    alone, counted = verified_alone(evidence.objects, evidence.keys, evidence.heads())

    assert findings == alone == []
    assert figures.listed == figures.intact == counted["figures"].get("records listed", 0) == 21
    assert figures.not_listed_yet == counted["figures"].get("not listed yet") == 1
    assert (figures.digests, figures.writers, figures.listed_again) == (8, 2, 0)


@pytest.mark.parametrize("name", TAMPERINGS)
def test_both_verifiers_find_and_locate(name, evidence):
    pins = evidence.heads() if name in PINNED else []
    expected = TAMPERINGS[name](evidence)

    findings, _ = verified(evidence.objects, evidence.keys, pins)
    alone, _ = verified_alone(evidence.objects, evidence.keys, pins)

    assert expected <= told(findings), told(findings)
    assert told(findings) == told(alone)
    assert ranges(findings) == ranges(alone)


def ranges(findings):
    return {(f["finding"], f["object"], f["writer"], str(f["first"]), str(f["last"])) for f in findings}
