import pytest

from llm_audit.telemetry.metrics import BY_NAME, CALL_METRICS, DURATION, NODE_METRICS, TOKENS, Kind


def test_names_are_translated_as_opentelemetry_translates_them():
    assert DURATION.prometheus == "gen_ai_server_request_duration_seconds"
    assert TOKENS.prometheus == "gen_ai_client_token_usage"
    assert BY_NAME["llm_audit.journal.used"].prometheus == "llm_audit_journal_used_bytes"


@pytest.mark.parametrize("metric", CALL_METRICS, ids=lambda metric: metric.name)
def test_boundaries_rise(metric):
    assert metric.kind is Kind.HISTOGRAM
    assert list(metric.bounds) == sorted(set(metric.bounds))


def test_no_two_metrics_share_a_name_in_either_world():
    every = [*CALL_METRICS, *NODE_METRICS]
    assert (
        len({metric.name for metric in every}) == len({metric.prometheus for metric in every}) == len(every)
    )
