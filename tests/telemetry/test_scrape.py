import pytest
from starlette.testclient import TestClient

from llm_audit.telemetry.scrape import Scrape
from telemetry.metrics_kit import snapshot, value_of

TOKEN = "correct-horse-battery"


def client(*, read=snapshot, token=None, local=False):
    return TestClient(Scrape(read, token=token, is_local=lambda _: local))


def test_from_this_machine_no_token_is_needed():
    for token in (None, TOKEN):
        answer = client(local=True, token=token).get("/metrics")
        assert answer.status_code == 200
        assert value_of(answer.text, "gen_ai_server_request_duration_seconds_count") == 3


def test_from_another_machine_the_token_is_needed():
    far = client(token=TOKEN)
    assert far.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert far.get("/metrics", headers={"authorization": f"bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize(
    "header",
    [{}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"authorization": f"Basic {TOKEN}"}],
)
def test_a_wrong_token_is_told_what_is_needed_and_nothing_else(header):
    answer = client(token=TOKEN).get("/metrics", headers=header)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "gen_ai" not in answer.text
    assert TOKEN not in answer.text


def test_without_a_token_nobody_else_is_served_and_the_setting_is_named():
    answer = client().get("/metrics", headers={"authorization": "Bearer None"})
    assert answer.status_code == 403
    assert "AUDIT_METRICS_TOKEN" in answer.text


def test_metrics_are_only_read():
    assert client(local=True).post("/metrics").status_code == 405
    assert client(local=True).head("/metrics").status_code == 200


def test_before_the_shipper_has_said_anything_there_is_nothing_to_scrape():
    answer = client(local=True, read=lambda: None).get("/metrics")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
