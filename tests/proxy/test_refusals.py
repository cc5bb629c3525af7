import json

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


def test_the_first_hundred_of_each_second_are_recorded_and_the_others_not():
    budget = RefusalBudget()
    recorded = [budget.admit(7.0 + i / 1000) for i in range(250)]
    assert recorded == [True] * 100 + [False] * 150
    assert budget.admit(8.0) is True


def test_a_sample_says_who_and_why():
    assert refusal().sample() == "10.0.0.7 finance-app: why unknown_path"


def test_a_clock_that_steps_back_gives_no_second_budget():
    budget = RefusalBudget(per_second=1)
    assert budget.admit(5.0)
    assert not budget.admit(4.0)
    assert not budget.admit(5.5)


@given(st.lists(st.floats(0, 20), max_size=300), st.integers(0, 3))
def test_no_second_records_more_than_its_share(times, per_second):
    budget = RefusalBudget(per_second)
    assert sum(budget.admit(now) for now in times) <= 21 * per_second
