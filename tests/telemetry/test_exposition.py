from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families

from calls import record
from llm_audit.telemetry.exposition import exposition
from llm_audit.telemetry.metrics import CALL_METRICS, NODE_METRICS
from telemetry.metrics_kit import snapshot, value_of


def text_of(a_snapshot, accept="text/plain"):
    return exposition(a_snapshot, accept)[0].decode()


def test_every_metric_is_told_with_its_meaning():
    families = {family.name: family for family in text_string_to_metric_families(text_of(snapshot()))}
    assert set(families) == {metric.prometheus for metric in (*CALL_METRICS, *NODE_METRICS)}
    for metric in (*CALL_METRICS, *NODE_METRICS):
        family = families[metric.prometheus]
        assert (family.type, family.documentation) == (metric.kind.value, metric.meaning)
        assert family.samples


def test_buckets_are_cumulative_and_end_with_all_calls():
    text = text_of(snapshot())
    name = "gen_ai_server_request_duration_seconds"
    ok = {"llm_audit_outcome": "complete", "gen_ai_request_model": "demo"}
    assert value_of(text, f"{name}_bucket", le="0.16", **ok) == 1
    assert value_of(text, f"{name}_bucket", le="1.28", **ok) == 2
    assert value_of(text, f"{name}_bucket", le="+Inf", **ok) == value_of(text, f"{name}_count", **ok) == 2
    assert round(value_of(text, f"{name}_sum", **ok), 6) == 1.16
    assert value_of(text, f"{name}_count", error_type="502", http_response_status_code="502") == 1


def test_tokens_are_told_apart_by_type():
    text = text_of(snapshot())
    assert value_of(text, "gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 15
    assert value_of(text, "gen_ai_client_token_usage_sum", gen_ai_token_type="output") == 41


def test_a_source_may_be_named_anything_that_a_header_takes():
    name = 'a"b\\c{}\u202e,ü= 1'
    text = text_of(snapshot([record(1, source=name)]))
    assert value_of(text, "gen_ai_server_request_duration_seconds_count", llm_audit_source=name) == 1


def test_who_asks_for_openmetrics_gets_it():
    body, content_type = exposition(snapshot(), "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    families = {family.name for family in open_metrics_families(body.decode())}
    assert "llm_audit_store_errors" in families
    assert exposition(snapshot(), "")[1].startswith("text/plain")


def test_before_the_first_call_the_node_is_told():
    text = text_of(snapshot([]))
    assert value_of(text, "llm_audit_journal_limit_bytes") > 0
    assert "gen_ai_server_request_duration_seconds_count" not in text
