import socket

import pytest

from demo_process import call, demo_process
from llm_audit.demo.traffic import PLANS, NoAnswerError, first_calls


def test_the_first_calls_are_answered_each_with_its_own_id():
    with demo_process() as url:
        calls = first_calls(url)
        metrics = call(url, "GET", "/metrics")[1].decode()
    # The demo server itself refuses the empty conversation; a missing header is the proxy's business.
    assert [made.status for made in calls] == [200] * 6 + [400, 200]
    assert len({made.request_id for made in calls}) == len(calls)
    assert all(made.seconds > 0 for made in calls)
    assert 'finished_reason="tool_calls",model_name="demo"} 1\n' in metrics
    assert 'finished_reason="abort",model_name="demo"} 0\n' in metrics


def test_one_call_leaves_out_who_its_user_is_and_the_others_say_everything():
    headers = [set(plan.headers) for plan in PLANS]
    everything = {"x-llm-source", "x-llm-user", "x-llm-request-type"}
    assert headers[:-1] == [everything] * (len(PLANS) - 1)
    assert headers[-1] == everything - {"x-llm-user"}


def test_a_proxy_that_does_not_answer_is_one_clear_error():
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    with pytest.raises(NoAnswerError, match=f"127.0.0.1:{port}"):
        first_calls(f"http://127.0.0.1:{port}")
