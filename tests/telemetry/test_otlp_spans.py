import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.resources import Resource

from calls import NOON_MS, record
from llm_audit.record.schema import ErrorInfo, ModelNames, Outcome, Usage
from llm_audit.telemetry.call import call_of
from llm_audit.telemetry.otlp_spans import SpanSender
from otlp_collector import Collector, attributes

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def collector(monkeypatch):
    with Collector() as one:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", one.url)
        yield one


def sent(collector, *records):
    sender = SpanSender(Resource({"service.name": "x"}))
    sender.add([call_of(each, with_span=True) for each in records])
    sender.close(10)
    return collector.spans()


def with_headers(a_record, *headers):
    return a_record._replace(request=a_record.request._replace(headers=headers))


def test_a_call_is_one_span_of_a_server_with_its_own_times(collector):
    (span,) = sent(collector, record(1, stream=True))
    assert (span.name, span.kind) == ("chat demo", Span.SpanKind.SPAN_KIND_SERVER)
    assert span.start_time_unix_nano == (NOON_MS + 1) * 1_000_000
    assert span.end_time_unix_nano == (NOON_MS + 121) * 1_000_000
    assert span.status.code == Status.StatusCode.STATUS_CODE_UNSET
    assert attributes(span) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "demo",
        "gen_ai.response.model": "demo-1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.time_to_first_chunk": 0.04,
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 30,
        "http.response.status_code": 200,
        "llm_audit.source": "billing",
        "llm_audit.outcome": "complete",
        "llm_audit.request_id": record(1).request_id,
    }


def test_the_span_joins_its_callers_trace(collector):
    (span,) = sent(
        collector,
        with_headers(record(), ("TraceParent", f"00-{TRACE}-{PARENT}-01"), ("tracestate", "vendor=1")),
    )
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.trace_state) == (TRACE, PARENT, "vendor=1")


@pytest.mark.parametrize(
    "traceparent", ["", "rubbish", f"00-{'0' * 32}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01"]
)
def test_a_trace_context_that_is_none_starts_a_trace(collector, traceparent):
    (span,) = sent(collector, with_headers(record(), ("traceparent", traceparent)))
    assert span.trace_id.hex() != TRACE
    assert not span.parent_span_id


def test_calls_without_context_share_no_trace(collector):
    assert len({span.trace_id for span in sent(collector, record(1), record(2))}) == 2


def test_a_caller_who_does_not_trace_is_not_traced(collector):
    traced = with_headers(record(2), ("traceparent", f"00-{TRACE}-{PARENT}-00"))
    assert sent(collector, traced) == []


def test_the_sampler_is_the_environments(collector, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert sent(collector, record()) == []


def test_a_call_that_failed_says_so_and_not_in_whose_words(collector):
    failed = record(
        outcome=Outcome.UPSTREAM_ERROR,
        status_code=502,
        error=ErrorInfo("upstream_reset", "q8Zk"),
        usage=Usage(),
    )
    (span,) = sent(collector, failed)
    assert span.status.code == Status.StatusCode.STATUS_CODE_ERROR
    assert attributes(span)["error.type"] == "upstream_reset"
    assert b"q8Zk" not in collector.traces[0].SerializeToString()


def test_no_prompt_no_reply_and_no_user_is_in_a_span(collector):
    sent(collector, record(user="q8Zk", prompt_preview="q8Zk", response_preview="q8Zk"))
    assert b"q8Zk" not in collector.traces[0].SerializeToString()


def test_names_are_cut(collector):
    (span,) = sent(collector, record(model=ModelNames("m" * 1000, None)))
    assert attributes(span)["gen_ai.request.model"] == "m" * 256
    assert span.name == "chat " + "m" * 256


def test_a_collector_that_is_away_holds_up_neither_calls_nor_the_end(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "16")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    sender = SpanSender(Resource({}))
    sender.add([call_of(record(number), with_span=True) for number in range(100)])
    sender.close(0.05)
