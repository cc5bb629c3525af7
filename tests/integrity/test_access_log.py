from hypothesis import given
from hypothesis import strategies as st

from llm_audit.integrity.access_log import LINE_LIMIT, Entry, Head, digest_of, line_of, parse_line, verify

AT = "2026-11-24T12:00:00.000Z"


def chain(count, first=1):
    lines = []
    for number in range(first, first + count):
        previous = digest_of(lines[-1]) if lines else None
        lines.append(line_of(Entry(number, AT, "os:me", "content.page", f"call-{number}", {}, previous)))
    return lines


def head_of(lines):
    return Head(len(lines), digest_of(lines[-1]))


def test_an_untouched_log_has_no_fault():
    lines = chain(5)
    assert list(verify(lines, head_of(lines))) == []
    assert list(verify([])) == []


@given(st.integers(0, 5), st.data())
def test_a_changed_byte_shows_wherever_it_is(number, data):
    lines = chain(6)
    at = data.draw(st.integers(0, len(lines[number]) - 1))
    changed = bytearray(lines[number])
    changed[at] ^= data.draw(st.integers(1, 255))
    lines[number] = bytes(changed)
    assert list(verify(lines, head_of(chain(6))))


@given(st.integers(0, 5))
def test_a_line_that_was_taken_out_shows(number):
    lines = chain(6)
    head = head_of(lines)
    del lines[number]
    assert list(verify(lines, head))


def test_a_line_that_was_taken_out_of_the_middle_shows_without_a_head():
    lines = chain(6)
    del lines[3]
    assert [fault.line for fault in verify(lines)] == [4]


@given(st.permutations(range(6)))
def test_lines_in_another_order_show(order):
    lines = chain(6)
    faults = list(verify([lines[number] for number in order], head_of(lines)))
    assert bool(faults) == (list(order) != list(range(6)))


def test_a_line_that_was_put_in_shows():
    lines = chain(4)
    forged = line_of(Entry(3, AT, "os:somebody", "content.page", "call", {}, digest_of(lines[1])))
    lines.insert(2, forged)
    assert [fault.line for fault in verify(lines)] == [4]


def test_an_end_that_was_cut_off_shows_against_the_head():
    lines = chain(6)
    (fault,) = verify(lines[:4], head_of(lines))
    assert "ends at entry 4, but entry 6 was written" in fault.what


def test_a_log_that_goes_on_after_its_head_is_whole():
    lines = chain(6)
    assert list(verify(lines, Head(4, digest_of(lines[3])))) == []


def test_a_log_that_was_written_anew_shows_against_the_head():
    ours, theirs = chain(4), chain(4, first=1)
    theirs[0] = line_of(Entry(1, AT, "os:other", "content.page", None, {}, None))
    for number in range(1, 4):
        entry = parse_line(theirs[number])
        theirs[number] = line_of(entry._replace(previous_sha256=digest_of(theirs[number - 1])))
    assert list(verify(theirs)) == []
    assert len(list(verify(theirs, head_of(ours)))) == 1


def test_two_faults_are_both_named():
    lines = chain(8)
    lines[1] = lines[1].replace(b"call-2", b"call-9")
    lines[6] = b"nothing"
    assert [fault.line for fault in verify(lines)] == [3, 7, 8]


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text() | st.integers()))
def test_no_text_can_begin_a_line_of_its_own(actor, subject, details):
    line = line_of(Entry(1, AT, actor, "content.page", subject, details, None))
    assert b"\n" not in line
    assert line.isascii()
    assert parse_line(line).details == details


def test_details_that_are_too_long_are_left_out_and_the_rest_stays():
    line = line_of(
        Entry(1, AT, "console:anna", "content.previews", "x" * 5000, {"calls": ["y" * 99] * 9999}, None)
    )
    entry = parse_line(line)
    assert len(line) < LINE_LIMIT
    assert (entry.actor, entry.action, len(entry.subject)) == ("console:anna", "content.previews", 1024)
    assert "bytes of details" in entry.details["leftOut"]
