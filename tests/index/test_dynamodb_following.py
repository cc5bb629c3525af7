"""Following: each call told once, late ones too, and said where more came than was looked at."""

from __future__ import annotations

from calls import item
from llm_audit.index.dynamodb_following import LOOKED_AT, LOOKS_PER_LONG, Following
from llm_audit.index.schema import keys


class Table(list):
    """Items, and the newest of them."""

    def newest(self, since, limit):
        found = sorted(self, key=lambda one: keys(one)["createdAt"], reverse=True)
        return [one for one in found if since is None or keys(one)["createdAt"] >= since][:limit]


def follow(table, looks):
    """Look so many times; gives what each look told."""
    following = Following()
    position = following.arrivals(table.newest, None, 500).position
    for number in range(looks):
        yield number, (found := following.arrivals(table.newest, position, 500)).items
        position = found.position


def test_a_late_call_is_told_by_the_next_look_that_goes_far_back():
    table = Table([item(600_000)])
    told = []
    for number, items in follow(table, 2 * LOOKS_PER_LONG):
        told += [(number, one) for one in items]
        if number == 3:
            table.append(item(1))
    assert told == [(LOOKS_PER_LONG, item(1))]


def test_nothing_is_told_twice_however_often_it_is_seen():
    table = Table(item(n) for n in range(5))
    told = []
    for number, items in follow(table, 25):
        told += items
        table.append(item(1000 * number + 500))
    assert len(told) == len(set(told)) == 24


def test_a_rush_beyond_one_look_is_said():
    table = Table([item(0)])
    following = Following()
    position = following.arrivals(table.newest, None, 500).position
    table += [item(n) for n in range(1, LOOKED_AT + 2)]
    assert following.arrivals(table.newest, position, 500).partial
    few = Table([item(0), item(1)])
    assert not following.arrivals(few.newest, position, 500).partial
