"""Heads of documents: small and large objects alike, cut at every byte, in little memory."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls import record
from llm_audit.index.schema import NotAnAuditDocumentError
from llm_audit.ingest.documents import KEPT_LIMIT, TEXT_LIMIT, WHOLE_LIMIT, BodySkipper, read_head
from llm_audit.record.encoding import encode_record
from llm_audit.record.schema import Record, RequestPart, ResponsePart


def with_bodies(request: bytes, response: bytes, assembled: dict | None = None) -> Record:
    plain = record(1)
    assert isinstance(plain.request, RequestPart)
    assert isinstance(plain.response, ResponsePart)
    return plain._replace(
        request=plain.request._replace(body=request),
        response=plain.response._replace(body=response, assembled=assembled),
    )


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def without_bodies(document: dict) -> dict:
    for part in ("request", "response"):
        for name in ("bodyText", "bodyBase64", "assembled"):
            if name in document[part]:
                document[part][name] = None
    return document


def skipped(data: bytes, size: int) -> dict:
    skipper = BodySkipper()
    for piece in pieces(data, size):
        skipper.feed(piece)
    return json.loads(skipper.kept())


AWKWARD = [
    b"",
    b'"',
    b"\\",
    b'\\"',
    b'\\\\"\\',
    b'{"response":{"bodyText":"x"}}',
    b"}}}]]],,,:::",
    "\N{SNOWMAN}\u2028é".encode(),
    b"\xff\xfe not text",
    b'data: {"delta":"\\"}\\n"}\n\n' * 5,
]


@pytest.mark.parametrize("body", AWKWARD, ids=repr)
def test_bodies_are_left_out_wherever_the_bytes_are_cut(body):
    data = encode_record(with_bodies(body, body[::-1], {"choices": [{"text": body.decode("latin-1")}, []]}))
    expected = without_bodies(json.loads(data))
    for size in (*range(1, 9), 64, len(data)):
        assert skipped(data, size) == expected


@given(st.binary(max_size=200), st.text(max_size=100), st.integers(1, 40))
def test_any_body_is_left_out_and_everything_else_kept(body, text, size):
    data = encode_record(with_bodies(body, text.encode(), {"text": [text, {text: None}], "n": 1}))
    assert skipped(data, size) == without_bodies(json.loads(data))


_NAMES = st.sampled_from(["request", "response", "bodyText", "bodyBase64", "assembled", "a", ""])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(_NAMES, _JSON), st.integers(1, 30), st.sampled_from([None, 1]), st.booleans())
def test_any_json_object_comes_through_with_only_the_bodies_left_out(document, size, indent, is_ascii):
    data = json.dumps(document, indent=indent, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    for name in ("request", "response"):
        part = document.get(name)
        if isinstance(part, dict):
            document[name] = {
                key: None if key in ("bodyText", "bodyBase64", "assembled") else value
                for key, value in part.items()
            }
    assert skipped(data, size) == document


@given(
    st.binary(max_size=300) | st.text('{}[]",:\\\\ nul01', max_size=300).map(str.encode), st.integers(1, 30)
)
def test_no_bytes_raise_anything_but_what_is_said(data, size):
    with suppress(NotAnAuditDocumentError):
        read_head(pieces(data, size))
    skipper = BodySkipper()
    for piece in pieces(data, size):
        skipper.feed(piece)
    assert len(skipper.kept()) <= 5 * len(data) + 5


@pytest.mark.parametrize("size", [10, WHOLE_LIMIT * 2])
def test_a_head_comes_with_the_digest_and_size_of_the_whole_object(size):
    data = encode_record(with_bodies(b"a" * size, b"b" * size))
    head = read_head(iter(pieces(data, 5000)))
    assert (head.sha256, head.size) == (hashlib.sha256(data).hexdigest(), len(data))
    assert without_bodies(dict(head.document)) == without_bodies(json.loads(data))


def test_members_may_stand_in_any_order():
    body = "x" * WHOLE_LIMIT
    data = json.dumps({"response": {"bodyText": body, "bytes": 3}, "request": {"bodyText": body}, "z": 1})
    assert read_head([data.encode()]).document == {
        "response": {"bodyText": None, "bytes": 3},
        "request": {"bodyText": None},
        "z": 1,
    }


def test_a_member_of_the_same_name_elsewhere_is_kept():
    data = b'{"bodyText":"a","x":{"bodyText":"b"},"request":{"y":{"bodyText":"c"},"bodyText":"d"}}'
    assert skipped(data, 3) == {
        "bodyText": "a",
        "x": {"bodyText": "b"},
        "request": {"y": {"bodyText": "c"}, "bodyText": None},
    }


def test_the_object_is_read_to_its_end_so_that_its_digest_is_of_all_of_it():
    data = encode_record(record(1)) + b" " * 10
    assert read_head([data]).sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[1]",
        b'"text"',
        b"\xff\xfe",
        b"{",
        b'{"a":NaN}',
        b'{"a":1}x',
        b"[" * 100_000,
        b'{"n":' + b"9" * 5000 + b"}",
        b'{"request":{"bodyText":"' + b"x" * WHOLE_LIMIT,
        b'{"request":{"bodyText":"' + b"x" * WHOLE_LIMIT + b'"}}}}',
        b"\x00" * (WHOLE_LIMIT + 1),
        b"a,b\n" * WHOLE_LIMIT,
    ],
    ids=lambda data: repr(data[:24]),
)
def test_what_is_no_json_object_is_refused(data):
    with pytest.raises(NotAnAuditDocumentError):
        read_head(pieces(data, 65_536))


def test_an_object_that_is_large_outside_its_bodies_is_given_up_without_reading_on():
    asked = 0

    def endless():
        nonlocal asked
        yield b'{"a":["'
        while True:
            asked += 1
            yield (b"x" * 125 + b'","') * 512

    with pytest.raises(NotAnAuditDocumentError, match="outside the bodies"):
        read_head(endless())
    assert asked <= KEPT_LIMIT // 65_536 + 2


@pytest.mark.parametrize("size", [1_000_000, 8_000_000])
def test_a_text_of_any_length_outside_the_bodies_costs_no_more_than_its_beginning(size):
    plain = json.loads(encode_record(record(1)))
    plain["model"] = {"requested": "m" * size, "served": "é" * (size // 2)}
    head = read_head(pieces(json.dumps(plain, ensure_ascii=False).encode(), 65_536))
    requested, served = head.document["model"].pop("requested"), head.document["model"].pop("served")
    assert (len(requested), set(requested)) == (TEXT_LIMIT - 1, {"m"})
    assert TEXT_LIMIT // 2 - 1 <= len(served) <= TEXT_LIMIT // 2
    assert set(served) == {"é"}
    assert {**head.document, "model": None} == without_bodies({**plain, "model": None})


@pytest.mark.parametrize("unit", ["a", "é", "\u2028", "\U0001f600", "\\", '"', "\n", "\x01"])
@pytest.mark.parametrize("shift", range(7))
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_long_text_is_cut_between_characters_wherever_its_pieces_end(unit, shift, ascii_only):
    text = "x" * shift + unit * (TEXT_LIMIT // 2)
    data = json.dumps({"a": [text, 1], "b": text[:9]}, ensure_ascii=ascii_only).encode() + b" " * WHOLE_LIMIT
    found = [skipped(data, size) for size in (len(data), 65_536, 10_007)]
    assert found[0] == found[1] == found[2]
    (kept, one), rest = found[0].values()
    assert (one, rest) == (1, text[:9])
    assert text.startswith(kept.encode("utf-8", "ignore").decode())
    assert len(kept) >= min(len(text), TEXT_LIMIT // 12)


def test_a_large_assembled_reply_is_passed_over_wherever_its_pieces_end():
    tree = [{"token": f'"{n}]\\', "top": [[], {"}": n}, "[{" * (n % 7)]} for n in range(3000)]
    deep: list = []
    for _ in range(150):
        deep = [deep, "]"]
    data = encode_record(with_bodies(b"a", b"b", {"choices": tree, "deep": deep, "long": '["\\' * 20_000}))
    expected = without_bodies(json.loads(data))
    for size in (97, 1000, 4096, 4097, 65_536, len(data)):
        assert skipped(data, size) == expected


def test_an_error_of_the_reader_passes_through():
    def cut():
        yield b'{"schemaVersion":1,'
        raise ConnectionResetError("reset")

    with pytest.raises(ConnectionResetError):
        read_head(cut())


_LARGE = """
import resource
from llm_audit.ingest.documents import read_head
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def pieces():
    yield b'{"request":{"bytes":1,"bodyText":"'
    for _ in range(1200): yield b'{\\\\"k\\\\":1}' * 6553
    yield b'"},"response":{"bytes":2,"bodyBase64":"'
    for _ in range(1200): yield b'QUJD' * 16384
    yield b'"}}'
head = read_head(pieces())
assert head.document == {"request": {"bytes": 1, "bodyText": None}, "response": {"bytes": 2, "bodyBase64": None}}
print(head.size, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_an_object_of_150_mb_costs_a_few_megabytes_of_memory():
    done = subprocess.run([sys.executable, "-c", _LARGE], capture_output=True, text=True, check=True)
    size, grown = map(int, done.stdout.split())
    assert size > 149_000_000
    assert grown < 8_000_000
