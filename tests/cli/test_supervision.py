from dataclasses import replace
from signal import SIGKILL, SIGTERM

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_audit.cli.supervision import (
    AT_ONCE,
    HURRIED,
    PATIENT,
    Child,
    Leave,
    Say,
    Send,
    Start,
    Supervision,
    describe_end,
)

PROXY = Child("proxy-1", stage=1, patience=130)
OTHER_PROXY = Child("proxy-2", stage=1, patience=130)
SHIPPER = Child("shipper", stage=2, patience=40)
MODEL = Child("model", stage=3, patience=12, backoff=PATIENT, may_refuse=False)
ONCE = Child("first-calls", stage=0, patience=1, backoff=None)


def supervision(*children):
    machine = Supervision(children)
    assert machine.start(0) == [Start(child.name) for child in children]
    return machine


def acts(effects):
    return [effect for effect in effects if not isinstance(effect, Say)]


def test_a_child_that_dies_starts_again_at_once():
    machine = supervision(PROXY, SHIPPER)
    assert acts(machine.ended("proxy-1", -9, 100)) == [Start("proxy-1")]
    assert acts(machine.ended("proxy-1", 1, 200)) == [Start("proxy-1")]


def test_a_child_that_keeps_dying_young_starts_later_and_later_and_recovers_when_it_has_lived():
    machine = supervision(PROXY)
    now, waits = 0.0, []
    for _ in range(9):
        effects = acts(machine.ended("proxy-1", 1, now))
        due = now if effects else machine.next_due()
        waits.append(due - now)
        if not effects:
            assert acts(machine.tick(due - 0.001)) == []
            assert acts(machine.tick(due)) == [Start("proxy-1")]
        now = due
    assert waits == [0, 0.25, 0.5, 1, 2, 4, 8, 10, 10]
    assert acts(machine.ended("proxy-1", 1, now + AT_ONCE.settled)) == [Start("proxy-1")]


def test_the_model_server_starts_again_after_one_second_up_to_thirty():
    assert [PATIENT.delay(deaths) for deaths in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    assert PATIENT.delay(10_000) == 30


def test_a_child_that_runs_once_is_not_started_again():
    machine = supervision(ONCE, PROXY)
    assert machine.ended("first-calls", 0, 5) == []
    assert machine.next_due() is None


def test_a_child_that_refuses_at_start_stops_everything_with_exit_code_2():
    machine = supervision(PROXY, SHIPPER)
    assert machine.ended("proxy-1", 2, 1) == [Send("shipper", SIGTERM), Send("shipper", SIGTERM)]
    assert machine.next_due() == 1 + HURRIED
    assert machine.ended("shipper", 0, 2) == [Leave(2)]


@pytest.mark.parametrize(("name", "now"), [("model", 1), ("proxy-1", 100)])
def test_exit_code_2_of_a_model_server_or_of_a_child_that_had_worked_is_no_refusal(name, now):
    machine = supervision(PROXY, MODEL)
    machine.ended(name, 2, now)
    assert not machine.is_stopping
    assert acts(machine.tick(now + 1)) in ([Start(name)], [])
    assert machine.lives[name].restarts == 1


def test_stopping_goes_stage_by_stage():
    machine = supervision(MODEL, SHIPPER, PROXY, OTHER_PROXY)
    assert machine.stop(10) == [Send("proxy-1", SIGTERM), Send("proxy-2", SIGTERM)]
    assert machine.next_due() == 140
    assert machine.ended("proxy-2", 0, 11) == []
    assert machine.ended("proxy-1", 0, 12) == [Send("shipper", SIGTERM)]
    assert machine.next_due() == 52
    assert machine.ended("shipper", 0, 13) == [Send("model", SIGTERM)]
    assert machine.ended("model", 0, 14) == [Leave(0)]


def test_a_stage_that_does_not_end_in_time_is_killed():
    machine = supervision(PROXY, SHIPPER)
    machine.stop(0)
    assert machine.tick(129.9) == []
    assert acts(machine.tick(130)) == [Send("proxy-1", SIGKILL)]
    assert machine.ended("proxy-1", -9, 130.1) == [Send("shipper", SIGTERM)]


def test_while_proxies_drain_a_shipper_that_dies_starts_again_and_a_proxy_does_not():
    machine = supervision(PROXY, OTHER_PROXY, SHIPPER)
    machine.stop(10)
    assert acts(machine.ended("shipper", -9, 11)) == [Start("shipper")]
    assert machine.ended("proxy-1", -9, 11) == []
    assert machine.ended("proxy-2", 0, 12) == [Send("shipper", SIGTERM)]


def test_a_child_that_waits_for_its_restart_when_its_stage_stops_is_not_started_any_more():
    machine = supervision(PROXY, MODEL)
    machine.ended("model", 1, 0)
    assert machine.next_due() == 1
    machine.stop(0.5)
    assert machine.ended("proxy-1", 0, 0.6) == [Leave(0)]
    assert acts(machine.tick(100)) == []


def test_a_child_that_is_needed_to_stop_is_started_for_it_if_it_waits_for_its_restart():
    machine = supervision(PROXY, replace(SHIPPER, is_needed_to_stop=True))
    machine.ended("shipper", 1, 0)
    assert acts(machine.ended("shipper", 1, 0.1)) == []
    assert machine.stop(0.2) == [Send("proxy-1", SIGTERM)]
    assert machine.ended("proxy-1", 0, 0.3) == [Start("shipper"), Send("shipper", SIGTERM)]
    assert machine.ended("shipper", 1, 0.4) == [Leave(0)]


def test_a_second_stop_makes_every_stage_hurry():
    machine = supervision(PROXY, SHIPPER)
    machine.stop(0)
    assert machine.stop(5) == [Send("proxy-1", SIGTERM)]
    assert machine.next_due() == 5 + HURRIED
    assert machine.ended("proxy-1", 0, 6) == [Send("shipper", SIGTERM)]
    assert machine.next_due() == 6 + HURRIED


def test_a_third_stop_kills_what_is_left():
    machine = supervision(PROXY, SHIPPER)
    machine.stop(0)
    machine.stop(1)
    assert machine.stop(2) == [Send("proxy-1", SIGKILL), Send("shipper", SIGKILL)]
    machine.ended("shipper", -9, 2.1)
    assert machine.ended("proxy-1", -9, 2.1) == [Leave(0)]


def test_messages_about_a_child_that_keeps_dying_become_rare():
    machine = supervision(PROXY)
    said = []
    for death in range(1, 101):
        effects = machine.ended("proxy-1", 1, 0)
        said += [death for effect in effects if isinstance(effect, Say)]
        machine.tick(1e9)
        machine.lives["proxy-1"].started = 0
    assert said == [1, 2, 3, 4, 8, 16, 32, 64]


def test_an_end_is_described_by_exit_code_or_signal():
    assert describe_end(1) == "ended with exit code 1"
    assert describe_end(-9) == "was ended by SIGKILL"
    assert describe_end(-200) == "was ended by signal 200"


@given(
    st.lists(st.tuples(st.sampled_from(["end", "stop", "tick"]), st.integers(0, 4), st.floats(0, 50))),
    st.data(),
)
def test_whatever_happens_only_stopped_children_start_and_the_end_comes_when_nothing_runs(events, data):
    machine = Supervision([ONCE, PROXY, OTHER_PROXY, replace(SHIPPER, is_needed_to_stop=True), MODEL])
    running, now, left = set(), 0.0, []

    def do(effects):
        for effect in effects:
            if isinstance(effect, Start):
                assert effect.name not in running
                running.add(effect.name)
            elif isinstance(effect, Send):
                assert effect.name in running
            elif isinstance(effect, Leave):
                left.append(effect)
                assert not running

    do(machine.start(now))
    for event, which, passed in [*events, *[("stop", 0, 0.0)], *[("end", 0, 1000.0)] * 10]:
        now += passed
        if event == "tick":
            do(machine.tick(now))
        elif event == "stop":
            do(machine.stop(now))
        elif running:
            name = sorted(running)[which % len(running)]
            running.remove(name)
            do(machine.ended(name, data.draw(st.sampled_from([0, 1, 2, -9])), now))
        do(machine.tick(now))
    assert len(left) == 1
