import json
import math

from hypothesis import given
from hypothesis import strategies as st

from llm_audit.proxy.refusals import Caller, Refusal, RefusalBudget
from llm_audit.record.schema import IdentitySource

CALLER = Caller(
    bytes(16),
    "00000000-0000-0000-0000-000000000000",
    "finance-app",
    None,
    None,
    IdentitySource.CLAIMED,
    None,
    "10.0.0.7",
)


def refusal(code: str = "unknown_path", status: int = 404) -> Refusal:
    return Refusal(status, code, f"why {code}", CALLER)


def test_the_body_has_the_shape_of_openai_s_errors():
    refused = Refusal(400, "missing_header", 'x-llm-user is "missing"', CALLER, "x-llm-user")
    assert json.loads(refused.body()) == {
        "error": {
            "message": 'x-llm-user is "missing"',
            "type": "invalid_request_error",
            "param": "x-llm-user",
            "code": "missing_header",
        }
    }


def test_the_error_type_follows_the_status():
    types = {status: refusal(status=status).error_type for status in (400, 403, 404, 429, 503, 418, 599)}
    assert types == {
        400: "invalid_request_error",
        403: "permission_error",
        404: "not_found_error",
        429: "rate_limit_error",
        503: "service_unavailable_error",
        418: "invalid_request_error",
        599: "server_error",
    }


def test_the_first_hundred_of_each_second_are_recorded_and_the_others_counted():
    budget = RefusalBudget()
    recorded = [budget.admit(7.0 + i / 1000, refusal()) for i in range(250)]
    assert recorded == [True] * 100 + [False] * 150
    assert budget.admit(8.0, refusal()) is True
    assert budget.drain(7.999) == []
    (tally,) = budget.drain(8.0)
    assert (tally.status, tally.code, tally.count) == (404, "unknown_path", 150)
    assert (tally.since, tally.until) == (7.1, 7.249)
    assert len(tally.samples) == 5
    assert budget.drain() == []


def test_counts_are_kept_apart_by_second_and_reason():
    budget = RefusalBudget(per_second=0, samples=1)
    for now in (1.0, 2.0):
        for code in ("unknown_path", "invalid_header", "unknown_path"):
            budget.admit(now, refusal(code))
    assert [(t.since, t.code, t.count) for t in budget.drain()] == [
        (1.0, "unknown_path", 2),
        (1.0, "invalid_header", 1),
        (2.0, "unknown_path", 2),
        (2.0, "invalid_header", 1),
    ]


def test_a_refusal_can_be_counted_where_there_is_no_room_for_its_record():
    budget = RefusalBudget()
    budget.count(7.0, refusal())
    assert budget.admit(7.1, refusal())
    budget.count(7.2, refusal())
    assert sum(tally.count for tally in budget.drain(8.0)) == 2


def test_a_tally_says_how_many_why_and_who():
    budget = RefusalBudget(per_second=0, samples=2)
    for _ in range(1234):
        budget.admit(1.0, refusal())
    (tally,) = budget.drain()
    assert tally.message() == (
        "1,234 calls refused with 404 unknown_path and not recorded one by one, such as"
        " 10.0.0.7 finance-app: why unknown_path; 10.0.0.7 finance-app: why unknown_path"
    )


def test_a_clock_that_steps_back_gives_no_second_budget():
    budget = RefusalBudget(per_second=1)
    assert budget.admit(5.0, refusal())
    assert not budget.admit(4.0, refusal())
    assert not budget.admit(5.5, refusal())
    assert sum(tally.count for tally in budget.drain()) == 2


def test_counts_that_nobody_drains_stay_few_and_none_is_lost():
    budget = RefusalBudget(per_second=0, pending_seconds=3)
    for second in range(1000):
        budget.admit(second, refusal())
    tallies = budget.drain()
    assert len(tallies) == 3
    assert sum(tally.count for tally in tallies) == 1000
    assert tallies[-1].until == 999


@given(
    st.lists(st.tuples(st.floats(0, 20), st.sampled_from(["a", "b"])), max_size=300),
    st.integers(0, 3),
    st.integers(1, 3),
)
def test_every_refusal_is_recorded_or_counted_exactly_once(calls, per_second, pending_seconds):
    budget = RefusalBudget(per_second, samples=2, pending_seconds=pending_seconds)
    recorded = counted = 0
    for number, (now, code) in enumerate(calls):
        recorded += budget.admit(now, refusal(code))
        if number % 7 == 0:
            counted += sum(tally.count for tally in budget.drain(now))
    counted += sum(tally.count for tally in budget.drain(math.inf))
    assert recorded + counted == len(calls)
    assert recorded <= 21 * per_second
