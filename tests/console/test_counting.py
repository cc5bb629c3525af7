import threading

import pytest

from cli.waiting import eventually
from llm_audit.console.counting import Counting


@pytest.fixture
def counting():
    one = Counting(least_seconds=0.0)
    yield one
    one.close()


def test_a_quick_count_is_there_at_once(counting):
    assert counting.get("key", lambda: 42).value == 42


def test_a_slow_count_is_not_waited_for_and_shows_once_it_is_made(counting):
    go = threading.Event()

    def slow():
        go.wait(30)
        return "counted"

    assert counting.get("key", slow) is None
    go.set()
    assert eventually(lambda: counting.get("key", slow)).value == "counted"


def test_while_it_is_counted_anew_the_last_count_is_shown(counting):
    go = threading.Event()
    assert counting.get("key", lambda: 1).value == 1

    def slow():
        go.wait(30)
        return 2

    eventually(lambda: counting.get("key", slow).value == 1)
    go.set()
    eventually(lambda: counting.get("key", slow).value == 2)


def test_a_count_rests(counting):
    rested = Counting(least_seconds=3600.0)
    counts = [0]

    def count():
        counts[0] += 1
        return counts[0]

    assert [rested.get("key", count).value for _ in range(5)] == [1] * 5
    assert rested.get("other", count).value == 2
    rested.close()


def test_an_error_is_raised_to_whoever_asked(counting):
    def broken():
        raise LookupError("no index")

    with pytest.raises(LookupError, match="no index"):
        counting.get("key", broken)


def test_only_some_counts_are_kept(counting):
    for number in range(200):
        counting.get(number, lambda: 1)
    assert len(counting._entries) <= 64
