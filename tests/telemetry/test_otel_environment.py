import pytest

from llm_audit.telemetry.otel_environment import OtelPlan, names_service, otel_plan

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


def test_without_an_endpoint_nothing_is_sent():
    assert otel_plan({}) == OtelPlan()
    assert not otel_plan({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}).sends


def test_an_endpoint_is_sent_traces_and_metrics():
    assert otel_plan(ENDPOINT) == OtelPlan(traces=True, metrics=True)


@pytest.mark.parametrize("signal", ["TRACES", "METRICS"])
def test_each_signal_has_an_endpoint_of_its_own(signal):
    plan = otel_plan({f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT": "http://127.0.0.1:4318/x"})
    assert (plan.traces, plan.metrics) == (signal == "TRACES", signal == "METRICS")


@pytest.mark.parametrize("signal", ["TRACES", "METRICS"])
def test_each_signal_can_be_turned_off(signal):
    plan = otel_plan({**ENDPOINT, f"OTEL_{signal}_EXPORTER": "none"})
    assert (plan.traces, plan.metrics) == (signal != "TRACES", signal != "METRICS")
    assert not plan.problems


@pytest.mark.parametrize("value", ["true", "TRUE", " True "])
def test_the_sdk_can_be_disabled(value):
    assert otel_plan({**ENDPOINT, "OTEL_SDK_DISABLED": value}) == OtelPlan()
    assert otel_plan({**ENDPOINT, "OTEL_SDK_DISABLED": "yes"}).sends


def test_a_protocol_that_is_not_spoken_is_named():
    plan = otel_plan({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    assert not plan.sends
    assert plan.problems[0].startswith("OTEL_EXPORTER_OTLP_PROTOCOL: got grpc, expected http/protobuf")
    own = otel_plan(
        {
            **ENDPOINT,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        }
    )
    assert (own.traces, own.metrics) == (True, False)


def test_an_exporter_that_is_not_known_is_named():
    plan = otel_plan({**ENDPOINT, "OTEL_TRACES_EXPORTER": "zipkin"})
    assert not plan.traces
    assert plan.problems == ("OTEL_TRACES_EXPORTER: got zipkin, expected otlp or none",)
    assert otel_plan({**ENDPOINT, "OTEL_METRICS_EXPORTER": "otlp,prometheus"}).metrics


@pytest.mark.parametrize(("text", "seconds"), [("", 60), ("250", 0.25), ("0", 60), ("soon", 60), ("-1", 60)])
def test_the_interval_is_milliseconds(text, seconds):
    plan = otel_plan({**ENDPOINT, "OTEL_METRIC_EXPORT_INTERVAL": text})
    assert plan.interval_s == seconds
    assert bool(plan.problems) == (text not in ("", "250"))


@pytest.mark.parametrize(
    ("text", "temporality"),
    [("", "cumulative"), ("Delta", "delta"), ("LOWMEMORY", "lowmemory"), ("x", "cumulative")],
)
def test_the_preferred_temporality_is_known(text, temporality):
    plan = otel_plan({**ENDPOINT, "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": text})
    assert plan.temporality == temporality
    assert bool(plan.problems) == (text == "x")


def test_whether_the_environment_names_the_service():
    assert names_service({"OTEL_SERVICE_NAME": "x"})
    assert names_service({"OTEL_RESOURCE_ATTRIBUTES": "a=b, service.name=x"})
    assert not names_service({"OTEL_RESOURCE_ATTRIBUTES": "my.service.name=x"})
