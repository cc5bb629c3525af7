from __future__ import annotations

from llm_audit.ship.ledger import Mark
from llm_audit.ship.line import CAUTION, WINDOW_RECORDS, Entry, Line
from ship_exchanges import ended_exchange, opening


def exchanges(count: int, *, first: int = 0, boot: int = 1):
    opened = opening(boot=boot)
    return [ended_exchange(sequence=n, opened=opened) for n in range(first, first + count)]


def digest(n: int) -> str:
    return f"{n:064x}"


def careless(mark: Mark | None = None, beyond=None) -> Line:
    """Give a line whose caution is over."""
    line = Line(mark, beyond or {})
    line._caution = 0
    return line


def take(line: Line) -> Entry:
    entry = line.next()
    assert isinstance(entry, Entry)
    line.linked(entry, digest(entry.ended.sequence))
    return entry


def test_each_entry_names_the_digest_of_the_one_before():
    line = careless()
    line.add(exchanges(3))

    entries = [take(line) for _ in range(3)]

    assert [entry.previous_sha256 for entry in entries] == [None, digest(0), digest(1)]
    assert line.next() is None


def test_a_new_boot_begins_with_the_last_digest_of_the_boot_before():
    line = careless()
    line.add(exchanges(2) + exchanges(1, boot=2))

    assert [take(line).previous_sha256 for _ in range(3)][2] == digest(1)


def test_what_the_ledger_knows_is_given_as_it_is_and_not_built_again():
    line = careless(Mark((1, 1), digest(1)), {(1, 3): digest(33)})
    line.add(exchanges(5))

    assert [line.next().sequence for _ in range(2)] == [0, 1]
    missing = take(line)
    assert (missing.place, missing.previous_sha256) == ((1, 2), digest(1))
    assert line.next().sequence == 3
    assert take(line).previous_sha256 == digest(33)


def test_the_mark_follows_the_oldest_that_is_not_stored():
    line = careless()
    line.add(exchanges(4))
    for _ in range(4):
        take(line)
    assert line.mark is None

    line.stored((1, 2), digest(2), digest(2))
    line.stored((1, 1), digest(1), digest(1))
    assert line.mark is None
    line.stored((1, 0), digest(0), digest(0))
    assert line.mark == Mark((1, 2), digest(2))
    line.stored((1, 3), digest(3), digest(3))
    assert line.mark == Mark((1, 3), digest(3))
    assert line.out == 0


def test_after_a_start_exchanges_go_one_at_a_time_and_link_to_what_really_lies_in_the_store():
    line = Line(None, {})
    line.add(exchanges(3))

    take(line)
    assert line.next() is None
    assert line.stored((1, 0), "ff" * 32, digest(0))

    assert take(line).previous_sha256 == "ff" * 32


def test_caution_lasts_longer_than_a_former_life_can_have_been_ahead():
    line = Line(None, {})
    line.add(exchanges(CAUTION + 2))
    for n in range(CAUTION):
        take(line)
        assert line.next() is None
        line.stored((1, n), digest(n), digest(n))

    take(line)
    take(line)
    assert CAUTION >= WINDOW_RECORDS


def test_a_refused_record_does_not_hold_the_others_up_even_in_times_of_caution():
    line = Line(None, {})
    line.add(exchanges(3))

    take(line).refusals += 1
    second = take(line)
    line.stored(second.place, digest(1), digest(1))

    assert line.mark is None
    assert take(line).previous_sha256 == digest(1)


def test_another_digest_under_a_record_that_others_were_built_on_breaks_the_chain_and_says_so():
    line = careless()
    line.add(exchanges(2))
    take(line)
    take(line)

    assert not line.stored((1, 0), "ff" * 32, digest(0))
    assert line.stored((1, 1), "ee" * 32, digest(1))
    assert line.mark == Mark((1, 1), "ee" * 32)


def test_a_line_wants_more_only_when_all_was_taken():
    line = careless()
    assert line.needs_reading
    line.add(exchanges(1))
    assert not line.needs_reading
    take(line)
    assert line.needs_reading
