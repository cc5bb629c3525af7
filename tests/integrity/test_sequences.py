"""Gaps in sequences, against a plain set as oracle."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm_audit.integrity.sequences import Gap, Place, Suspects, gaps, place_row

A, B = "w-0000000a", "w-0000000b"
PLACES = st.sets(st.builds(Place, st.sampled_from([A, B]), st.integers(1, 2), st.integers(0, 12)))


def found(places, through=None, *, from_zero=True):
    rows = sorted(map(place_row, places))
    return list(gaps(rows, through, from_zero=from_zero))


def expanded(some):
    return {Place(gap.writer, gap.boot, number) for gap in some for number in range(gap.first, gap.last + 1)}


@given(PLACES, st.booleans(), st.integers(-1, 15))
def test_a_gap_is_what_lies_between_known_places_of_one_boot(places, from_zero, end):
    wanted = set()
    for writer, boot in {(place.writer, place.boot) for place in places}:
        known = {place.sequence for place in places if (place.writer, place.boot) == (writer, boot)}
        last = max(*known, end if (writer, boot) == (A, 2) else -1)
        first = 0 if from_zero else min(known)
        wanted |= {Place(writer, boot, number) for number in set(range(first, last + 1)) - known}
    some = found(places, {(A, 2): end}, from_zero=from_zero)
    assert expanded(some) == wanted
    assert sum(gap.records for gap in some) == len(wanted)


def test_places_sort_as_numbers_and_a_place_that_comes_twice_is_one():
    places = [Place(A, 2, 0), Place(A, 10, 0), Place(A, 2, 9), Place(A, 2, 10), Place(A, 2, 10)]
    assert found(places) == [Gap(A, 2, 1, 8)]


@given(PLACES, PLACES)
def test_what_is_found_after_all_is_no_gap(places, more):
    suspects = Suspects(found(places))
    before = expanded(suspects.left())
    for place in more:
        assert suspects.may_hold(place.writer, place.sequence) or place not in before
        suspects.found(place)
    assert expanded(suspects.left()) == before - more
    assert bool(suspects) == bool(before - more)


def test_a_record_of_which_nothing_is_known_may_be_any_missing_one():
    suspects = Suspects([Gap(A, 1, 2, 2)])
    assert suspects.may_hold(None, None)
    assert not suspects.may_hold(A, 3)
    assert not suspects.may_hold(B, 2)
    suspects.found(Place(A, 1, 2))
    assert not suspects.may_hold(None, None)


def test_an_item_alone_tells_of_one_boots_record():
    suspects = Suspects([Gap(A, 1, 0, 4), Gap(A, 2, 0, 4)])
    suspects.told_of(A, 3)
    suspects.told_of(A, 9)
    assert list(suspects.left()) == [Gap(A, 1, 0, 2), Gap(A, 1, 4, 4), Gap(A, 2, 0, 4)]
