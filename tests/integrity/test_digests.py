"""Digest files: made, named, read, and nothing else read."""

import copy
import json

import pytest

from llm_audit.integrity.canonical import canonical
from llm_audit.integrity.digests import (
    DigestUnreadableError,
    Entry,
    digest_key,
    entry_bytes,
    make_digests,
    parse_digest_key,
    read_digest,
    tree_root,
)
from llm_audit.integrity.signatures import new_private_key

KEY = new_private_key()
W = "w-0123abcd"
T0 = 1_795_500_000_000


def entry(boot, sequence):
    return Entry(
        boot,
        f"logs/2026/11/24/{(sequence * 7919) % 10_007:05d}-{boot}.json",
        sequence,
        "ab" * 32,
        10 + sequence,
    )


def make(entries, before=None, now_ms=T0, **how):
    how = {"reason": "interval", "made_by": "test", "sign": KEY.sign} | how
    return make_digests(W, before, entries, now_ms=now_ms, **how)


def heads(made):
    return [read_digest(one.data).head for one in made]


def test_a_digest_reads_back_and_its_root_and_signature_are_right():
    (made,) = make([entry(1, n) for n in range(20)])
    digest = read_digest(made.data)
    assert [one.sequence for one in sorted(digest.entries, key=lambda one: one.sequence)] == list(range(20))
    assert [one.key for one in digest.entries] == sorted(one.key for one in digest.entries)
    assert digest.head.root_sha256 == tree_root(map(entry_bytes, digest.entries))
    assert KEY.public.has_signed(canonical(digest.head.document()), digest.signature)
    assert digest.sha256 == made.end.sha256
    assert canonical(json.loads(made.data)) == made.data


def test_each_boot_has_its_digest_and_each_follows_the_one_before():
    made = make([entry(2, 0), entry(1, 0), entry(1, 1), entry(4, 0)])
    assert [(head.boot, head.first, head.last) for head in heads(made)] == [(1, 0, 1), (2, 0, 0), (4, 0, 0)]
    assert [head.previous_sha256 for head in heads(made)[1:]] == [one.end.sha256 for one in made[:-1]]
    assert [head.number for head in heads(made)] == [0, 1, 2]


def test_what_lies_before_the_last_range_comes_late():
    (first,) = make([entry(1, 0), entry(1, 2)])
    (second,) = make([entry(1, 1), entry(1, 3)], first.end)
    (head,) = heads([second])
    assert (head.first, head.last, head.late, head.entries) == (3, 3, 1, 2)
    (third,) = make([entry(1, 1)], second.end)
    (head,) = heads([third])
    assert (head.boot, head.first, head.last, head.late) == (None, None, None, 1)


def test_periods_follow_each_other_and_a_clock_set_back_is_stated():
    (first,) = make([], now_ms=T0)
    (second,) = make([], first.end, T0 - 5000)
    (third,) = make([], second.end, T0 + 1000)
    assert [(head.from_ms, head.to_ms, head.clock_behind_ms) for head in heads([first, second, third])] == [
        (T0, T0, 0),
        (T0, T0, 5000),
        (T0, T0 + 1000, 0),
    ]


def test_a_name_says_writer_day_and_number():
    key = digest_key(W, 17, T0)
    assert key == "digests/w-0123abcd/2026/11/24/000000000017.json"
    assert parse_digest_key(key) == (W, "2026/11/24", 17)


@pytest.mark.parametrize(
    "key", ["", "digests/x", "logs/2026/11/24/a.json", digest_key(W, 1, T0) + "x", digest_key("w-1", 1, T0)]
)
def test_other_names_are_no_digests(key):
    assert parse_digest_key(key) is None


def changed(change) -> bytes:
    (made,) = make([entry(1, n) for n in range(3)])
    document = copy.deepcopy(json.loads(made.data))
    change(document)
    return canonical(document)


CHANGES = {
    "no head": lambda d: d.pop("head"),
    "a member more": lambda d: d.update(note=1),
    "another type": lambda d: d["head"].update(type="llm-audit-digest/2"),
    "a head's member less": lambda d: d["head"].pop("reason"),
    "a head's member more": lambda d: d["head"].update(note=1),
    "a time that is none": lambda d: d["head"].update(to="yesterday"),
    "a time in another form": lambda d: d["head"].update(to="2026-11-24T06:00:00Z"),
    "a time as a number": lambda d: d["head"].update(to=5),
    "a negative number": lambda d: d["head"].update(number=-1),
    "a number as text": lambda d: d["head"].update(number="1"),
    "a true number": lambda d: d["head"].update(number=True),
    "a fraction": lambda d: d["head"].update(number=1.0),
    "a range without a boot": lambda d: d["head"].update(boot=None),
    "a range backwards": lambda d: d["head"].update(first=3),
    "a root that is none": lambda d: d["head"].update(rootSha256="AB" * 32),
    "entries that are none": lambda d: d.update(entries={}),
    "an entry that is none": lambda d: d["entries"].append(1),
    "an entry's member less": lambda d: d["entries"][0].pop("size"),
    "an entry's member more": lambda d: d["entries"][0].update(note=1),
    "an entry's key as number": lambda d: d["entries"][0].update(key=1),
    "an entry's digest too short": lambda d: d["entries"][0].update(sha256="ab"),
    "no signature": lambda d: d.update(signature=None),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_no_digest_is_refused(what):
    with pytest.raises(DigestUnreadableError):
        read_digest(changed(CHANGES[what]))


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(data):
    with pytest.raises(DigestUnreadableError):
        read_digest(data)


def test_a_head_is_small_enough_for_kms():
    entries = [entry(2**52, 2**52 + n) for n in range(10)]
    (made,) = make(entries, make([])[0].end._replace(number=2**52), made_by="m" * 100)
    assert len(canonical(read_digest(made.data).head.document())) <= 4096
