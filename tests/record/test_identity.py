import subprocess
import sys
import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_audit.record.identity import (
    Problem,
    RequestIds,
    bad_request_id,
    caller_value,
    escaped,
    format_request_id,
    new_request_id,
    parse_request_id,
)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"finance-app", "finance-app"),
        (b" \tfinance-app\t ", "finance-app"),
        (b"J\xc3\xbcrgen M\xc3\xbcller <j@example.org>", "Jürgen Müller <j@example.org>"),
        ("देवनागरी \u200d".encode(), "देवनागरी \u200d"),
        (b"null-pointer", "null-pointer"),
        (b"--", "--"),
        (b"costs 5$", "costs 5$"),
        (b"{json}", "{json}"),
        (b"x" * 256, "x" * 256),
        ("💶".encode() * 256, "💶" * 256),
    ],
)
def test_a_value_that_says_something_is_accepted_as_it_is(raw, value):
    assert caller_value("x-llm-source", raw) == value


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "is missing"),
        (b"", "is empty"),
        (b" \t ", "is empty"),
        ("\u00a0\u200b".encode(), "is empty"),
        (b"-", "placeholder"),
        (b"null", "placeholder"),
        (b"NULL", "placeholder"),
        (b"None", "placeholder"),
        (b"unDefined", "placeholder"),
        (b"unknown", "placeholder"),
        (b" N/A ", "placeholder"),
        (b"$context.authorizer.user", "unresolved"),
        (b"$CONTEXT.identity.user", "unresolved"),
        (b"app-${STAGE}", "unresolved"),
        (b"${}", "unresolved"),
        (b"{{ user }}", "unresolved"),
        (b"x" * 257, "257 characters, at most 256"),
        (b"x" * 5000, "5,000 bytes"),
        ("💶".encode() * 257, "bytes"),
        (b"caf\xe9", "not UTF-8 (byte 4)"),
        (b"\xed\xa0\x80", "not UTF-8"),
        (b"a\x00b", "control character U+0000 (character 2)"),
        (b"a\tb", "control character U+0009"),
        (b"a\x7f", "control character U+007F"),
        ("a\u0085b".encode(), "control character U+0085"),
        ("a\u2028b".encode(), "control character U+2028"),
        ("a\u202eb".encode(), "control character U+202E"),
        (b"team#1", "contains '#' (character 5)"),
    ],
)
def test_a_value_that_says_nothing_or_could_deceive_is_refused_by_name_and_reason(raw, reason):
    problem = caller_value("x-llm-user", raw)
    assert isinstance(problem, Problem)
    assert problem.header == "x-llm-user"
    assert problem.sentence.startswith("x-llm-user ")
    assert reason in problem.sentence
    assert problem.code == ("missing_header" if raw is None else "invalid_header")


def text_like(alphabet: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    return st.text(alphabet, max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))


@given(
    st.one_of(
        st.binary(max_size=1100), text_like(st.characters()), text_like(st.sampled_from("ab#-$ {}\t\u2028"))
    )
)
@example(b"${" * 500)
def test_any_bytes_give_a_value_fit_for_keys_and_lines_or_a_problem(raw):
    value = caller_value("x-llm-source", raw)
    if isinstance(value, Problem):
        assert value.sentence.isprintable()
        return
    assert 1 <= len(value) <= 256
    assert "#" not in value
    assert value.splitlines() == [value]
    assert value.encode("utf-8") == raw.strip(b" \t")
    assert f"project#{value}".split("#") == ["project", value]


@pytest.mark.parametrize(
    "text",
    [
        "0190F3E2-1111-7AAA-8bbb-0123456789ab",
        "9f1c5a7e-5d0b-4c3e-8b1a-2f6d7e8c9a0b",
        "0" * 8 + "-0000" * 3 + "-" + "f" * 12,
    ],
)
def test_a_request_id_is_read_in_any_case_and_written_in_lower_case(text):
    raw = parse_request_id(text.encode())
    assert raw == uuid.UUID(text).bytes
    assert format_request_id(raw) == text.lower()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"../../x",
        b"%2e%2e",
        b"a" * 300,
        b"0190f3e2-1111-7aaa-8bbb-0123456789a",
        b"0190f3e2-1111-7aaa-8bbb-0123456789abc",
        b"0190f3e211117aaa8bbb0123456789ab",
        b"{0190f3e2-1111-7aaa-8bbb-0123456789}",
        b"0190f3e2-1111-7aaa-8bbb-0123456789ag",
        b"0190f3e2-1111-7aaa-8bbb-0123456789a\x00",
        b"0190f3e2-1111-7aaa-8bbb-01234567 9ab",
        b"0190f3e2-11-1-7aaa-8bbb-0123456789ab",
        b"0190f3e2_1111_7aaa_8bbb_0123456789ab",
        "0190f3e2-1111-7aaa-8bbb-0123456789٣".encode(),
    ],
)
def test_what_is_not_a_uuid_is_no_request_id(raw):
    assert parse_request_id(raw) is None


@given(st.binary(max_size=60))
def test_any_bytes_are_a_request_id_only_if_they_are_its_spelling(raw):
    parsed = parse_request_id(raw)
    if parsed is not None:
        assert format_request_id(parsed).encode() == raw.lower()


@given(st.binary(min_size=16, max_size=16))
def test_every_id_is_read_back_from_its_spelling(raw):
    assert parse_request_id(format_request_id(raw).encode()) == raw


@given(st.binary(max_size=2000))
def test_a_bad_value_is_shown_in_printable_ascii_of_at_most_256_characters(raw):
    shown = escaped(raw)
    assert shown.isascii()
    assert shown.isprintable() or not shown
    assert len(shown) <= 256


def test_a_bad_request_id_is_named_with_what_came():
    problem = bad_request_id(b" ../../x\x00\xff ")
    assert problem.code == "invalid_request_id"
    assert r"'../../x\x00\xff'" in problem.sentence


def test_new_ids_are_uuids_of_version_7_with_the_time_in_front():
    now_ms = 1_795_486_253_123
    made = uuid.UUID(bytes=new_request_id(now_ms))
    assert made.variant == uuid.RFC_4122
    assert made.version == 7
    assert abs((made.int >> 80) - now_ms) <= 10_000  # other tests of this process may have used later times


def test_new_ids_of_one_process_sort_in_the_order_in_which_they_were_made():
    ids = RequestIds()
    times = [5_000_000, 5_000_000, 5_000_001, 5_000_000, 4_999_000, 5_000_002] * 50
    made = [ids.new(ms) for ms in times]
    assert made == sorted(set(made))


def test_a_clock_set_back_for_good_is_followed():
    ids = RequestIds()
    ids.new(5_000_000)
    assert int.from_bytes(ids.new(4_000_000)[:6], "big") == 4_000_000


def test_a_full_counter_borrows_from_the_next_millisecond():
    ids = RequestIds()
    first = ids.new(5_000_000)
    ids._counter = (1 << 42) - 1
    second = ids.new(5_000_000)
    assert first < second
    assert int.from_bytes(second[:6], "big") == 5_000_001
    assert uuid.UUID(bytes=second).version == 7


FORKING = """
import os, sys
from llm_audit.record.identity import new_request_id
new_request_id(1_795_486_253_123)
child = os.fork()
for _ in range(50):
    os.write(1, new_request_id(1_795_486_253_123))
if child:
    os.waitpid(child, 0)
"""


def test_a_forked_process_makes_ids_of_its_own():
    made = subprocess.run([sys.executable, "-c", FORKING], check=True, capture_output=True).stdout
    ids = [made[start : start + 16] for start in range(0, len(made), 16)]
    assert len(ids) == 100
    assert len(set(ids)) == 100
    assert len({made[12:] for made in ids}) > 90  # the random tails, too, are not those of the parent
