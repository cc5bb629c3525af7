import pytest

from calls import record
from llm_audit.record.schema import ErrorInfo, ModelNames, Outcome, Usage
from llm_audit.telemetry.call import SpanFacts, call_of
from llm_audit.telemetry.metrics import LABELS


def labels(a_record):
    return dict(zip(LABELS, call_of(a_record, with_span=False).series, strict=True))


def with_request(a_record, **changes):
    return a_record._replace(request=a_record.request._replace(**changes))


def test_a_call_is_told_apart_by_what_the_conventions_name_and_by_source_and_outcome():
    assert labels(record()) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "demo",
        "gen_ai.response.model": "demo-1",
        "llm_audit.source": "billing",
        "llm_audit.outcome": "complete",
        "http.response.status_code": 200,
        "error.type": "",
    }


def test_nothing_of_a_call_is_content_or_names_its_user():
    secret = "q8Zk-secret"
    call = call_of(
        record(
            user=secret,
            prompt_preview=secret,
            response_preview=secret,
            error=ErrorInfo("BadRequestError", secret),
        ),
        with_span=True,
    )
    assert secret not in repr(call)


@pytest.mark.parametrize(
    ("path", "provider"),
    [
        ("/v1/responses", "openai"),
        ("/v1/messages", "anthropic"),
        ("/v1/messages/count_tokens", "anthropic"),
        ("/cohere/v2/chat", "cohere"),
        ("/v2/rerank", "cohere"),
        ("/tokenize", "vllm"),
        (None, "vllm"),
    ],
)
def test_the_provider_is_whose_interface_was_spoken(path, provider):
    assert labels(with_request(record(), path=path))["gen_ai.provider.name"] == provider


@pytest.mark.parametrize(
    ("changes", "error_type"),
    [
        ({"error": ErrorInfo("upstream_refused", "no")}, "upstream_refused"),
        ({"status_code": 429}, "429"),
        ({"outcome": Outcome.CLIENT_DISCONNECTED}, "client_disconnected"),
        ({"outcome": Outcome.INTERRUPTED, "status_code": None}, "interrupted"),
        ({"status_code": 302}, ""),
    ],
)
def test_an_error_is_named_by_its_type_else_by_the_status_else_by_how_the_call_ended(changes, error_type):
    assert labels(record(**changes))["error.type"] == error_type


def test_the_time_to_the_first_token_is_that_of_streams_that_succeeded():
    assert call_of(record(stream=False), with_span=False).first_token is None
    assert call_of(record(stream=True, status_code=500), with_span=False).first_token is None
    stream = call_of(record(stream=True, latency_ms=1040, time_to_first_chunk_ms=40), with_span=False)
    assert (stream.duration, stream.first_token) == (1.04, 0.04)


def test_the_time_per_token_spreads_what_follows_the_first_token_over_the_tokens_that_follow_it():
    stream = record(stream=True, latency_ms=1040, time_to_first_chunk_ms=40)
    assert call_of(stream._replace(usage=Usage(1, 11, 12)), with_span=False).per_token == pytest.approx(0.1)
    for output_tokens in (None, 0, 1):
        alone = stream._replace(usage=Usage(1, output_tokens, None))
        assert call_of(alone, with_span=False).per_token is None


def test_a_record_that_speaks_of_no_single_call_is_no_call():
    assert call_of(with_request(record(), method=None), with_span=True) is None


def test_what_is_not_known_is_empty():
    bare = record(operation=None, model=ModelNames(), source=None, status_code=None)
    assert list(labels(bare).values()) == ["unknown", "openai", "", "", "", "complete", 0, ""]


def test_a_span_knows_its_times_and_the_callers_trace():
    headers = (("Traceparent", "00-a-b-01"), ("host", "x"), ("tracestate", "k=v"), ("TRACEPARENT", "second"))
    call = call_of(with_request(record(), headers=headers), with_span=True)
    started = record().started_at_ms
    assert call.span == SpanFacts(record().request_id, started, started + 120, ("stop",), "00-a-b-01", "k=v")
    assert call_of(record(), with_span=True).span.traceparent is None
    assert call_of(record(), with_span=False).span is None
