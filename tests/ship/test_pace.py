from __future__ import annotations

import pytest

from llm_audit.ship.pace import BEGIN_ANEW, FEWEST, WINDOW, Pace, Rest


def windows(pace: Pace, seconds: float, count: int = 1, *, more_waiting: bool = True) -> int:
    """Let so many windows of puts take so long each, and give the limit after them."""
    for _ in range(count * WINDOW):
        pace.took(seconds, more_waiting=more_waiting)
    return pace.limit


def test_it_begins_with_few_and_grows_while_puts_take_no_longer():
    pace = Pace(96)

    assert pace.limit == FEWEST
    grown = [windows(pace, 0.03) for _ in range(20)]

    assert grown == sorted(grown)
    assert grown[-1] == 96


def test_it_does_not_grow_where_nobody_waits():
    assert windows(Pace(96), 0.03, 20, more_waiting=False) == FEWEST


def test_puts_that_take_twice_as_long_make_it_fall_but_never_below_the_fewest():
    pace = Pace(96)
    high = windows(pace, 0.03, 20)

    assert windows(pace, 0.07) < high
    assert windows(pace, 0.07, 50) == FEWEST


def test_a_store_that_serves_one_at_a_time_is_not_crowded():
    pace = Pace(96)

    for _ in range(100):
        windows(pace, 0.0005 * pace.limit)  # each waits for all before it

    assert pace.limit <= 3 * FEWEST


def test_one_large_object_among_small_ones_misleads_nobody():
    pace = Pace(96)
    for _ in range(20):
        pace.took(10.0, more_waiting=True)
        for _ in range(WINDOW - 1):
            pace.took(0.03, more_waiting=True)

    assert pace.limit == 96


def test_a_store_that_became_slower_by_itself_is_measured_anew():
    pace = Pace(96)
    windows(pace, 0.01, 20)

    assert windows(pace, 0.05, BEGIN_ANEW) > FEWEST
    assert windows(pace, 0.05, 20) == 96


@pytest.mark.parametrize("maximum", [1, 2, 3])
def test_a_maximum_below_the_fewest_holds(maximum):
    pace = Pace(maximum)

    assert pace.limit == maximum
    assert windows(pace, 0.01, 10) == maximum
    assert windows(pace, 1.0, 10) == maximum


def test_while_more_can_begin_a_look_waits_for_many():
    rest = Rest()

    assert rest.after(0, is_full=False) == rest.after(128, is_full=False) == Rest.LONGEST_S


def test_a_full_window_is_looked_at_ever_sooner_while_much_has_ended_and_ever_later_while_little_has():
    rest = Rest()

    sooner = [rest.after(Rest.MANY, is_full=True) for _ in range(10)]
    kept = rest.after(Rest.FEW, is_full=True)
    later = [rest.after(Rest.FEW - 1, is_full=True) for _ in range(10)]

    assert sooner == sorted(sooner, reverse=True)
    assert sooner[-1] == kept == Rest.SHORTEST_S
    assert later == sorted(later)
    assert later[-1] == Rest.LONGEST_S
