import contextlib
import http.client
import json
import signal
import subprocess
import sys

import pytest

from calls import record
from cli.served import CALLER, Served, free_port, serve_command
from cli.waiting import eventually
from llm_audit.cli.settings import load_settings
from llm_audit.cli.telemetry import figures, open_telemetry, seen_by
from llm_audit.journal.counted import UNAUDITED, CountedCalls, Reason
from llm_audit.ship.status import ShipperStatus, WriterStatus
from llm_audit.telemetry import metrics
from llm_audit.telemetry.published import read_published
from otlp_collector import Collector, attributes
from telemetry.metrics_kit import value_of

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TOKEN = "correct-horse-battery"
DURATIONS = "gen_ai_server_request_duration_seconds"


def status(**changes):
    fields = dict.fromkeys(ShipperStatus.__dataclass_fields__, 0)
    return ShipperStatus(**(fields | {"state": "shipping", "ledger_error": None, "writers": {}} | changes))


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "journal").mkdir()
    (tmp_path / "status").mkdir()
    return load_settings({"AUDIT_DATA_DIR": str(tmp_path), "AUDIT_JOURNAL_MAX_BYTES": "2MiB"})


def test_every_metric_of_the_node_has_a_figure(settings):
    (settings.quarantine_dir / "w-1-1-7").mkdir(parents=True)
    writer = settings.journal_dir / "w-1"
    writer.mkdir()
    page = CountedCalls(writer)
    page.count(UNAUDITED)
    page.count(Reason(403, "x"))
    page.count(Reason(403, "x"))
    page.close()
    found = figures(
        status(
            updated_at=1_500,
            backlog_bytes=7,
            backlog_age_ms=2_500,
            stored=11,
            quarantined=1,
            refused=2,
            broken_links=3,
            store_errors=4,
            untold=5,
            ledger_error="no",
            writers={
                "w-1": WriterStatus(7, 3, 2, 1, 1, None),
                "w-2": WriterStatus(0, 1, 4, 1, 1, "cannot read"),
            },
        ),
        settings,
    )
    expected = {
        metrics.STATUS_TIME: 1.5,
        metrics.JOURNAL_USED: 7,
        metrics.JOURNAL_LIMIT: 2**21,
        metrics.JOURNAL_UNREADABLE: 1,
        metrics.OPEN_CALLS: 4,
        metrics.SHIPPING_LAG: 2.5,
        metrics.SHIPPING_WAITING: 6,
        metrics.SHIPPING_REFUSED: 2,
        metrics.LEDGER_FAILING: 1,
        metrics.INDEX_UNTOLD: 5,
        metrics.QUARANTINE_KEPT: 1,
        metrics.RECORDS_STORED: 11,
        metrics.RECORDS_QUARANTINED: 1,
        metrics.BROKEN_LINKS: 3,
        metrics.STORE_ERRORS: 4,
        metrics.UNAUDITED: 1,
        metrics.COUNTED_REFUSALS: 2,
    }
    assert found == {metric.name: value for metric, value in expected.items()}
    assert set(expected) == set(metrics.NODE_METRICS)


@pytest.mark.parametrize("environ", [{"AUDIT_METRICS": "off"}, {"AUDIT_CONSOLE": "off"}])
def test_where_nobody_looks_nothing_is_counted(tmp_path, environ):
    settings = load_settings({"AUDIT_DATA_DIR": str(tmp_path), **environ})
    assert open_telemetry(settings, {}) is None


def test_what_was_stored_is_published_with_the_next_status(settings):
    telemetry = open_telemetry(settings, {})
    telemetry.stored([telemetry.note(record(1)), telemetry.note(record(2))])
    telemetry.see(status(started_at=1, updated_at=2))
    telemetry.close()
    snapshot = read_published(settings.status_dir / "metrics.json")
    assert (snapshot.started_at, snapshot.at) == (1, 2)
    assert [each.count for each in snapshot.calls[metrics.DURATION.name].values()] == [2]


def test_a_status_that_cannot_be_published_stops_nothing(settings):
    telemetry = open_telemetry(settings, {})
    settings.status_dir.rmdir()
    telemetry.see(status())


def test_what_is_asked_and_cannot_be_done_is_said(settings, caplog):
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    open_telemetry(settings, environ)
    assert "OTEL_EXPORTER_OTLP_PROTOCOL: got grpc, expected http/protobuf" in caplog.text


def test_a_certificate_that_is_not_there_costs_telemetry_alone(settings, caplog, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512")
    telemetry = open_telemetry(settings)
    telemetry.close()
    assert "telemetry: nothing is sent by OTLP" in caplog.text


def test_statuses_are_shown_to_all_who_want_them():
    seen = []
    seen_by(None, seen.append, seen.append)("status")
    assert seen == ["status", "status"]
    assert seen_by(None, None) is None


def test_the_shipper_imports_opentelemetry_and_prometheus_only_where_they_are_used():
    code = (
        "import sys, llm_audit.cli.processes.shipper\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('opentelemetry', 'prometheus_client')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_the_extra_records_are_stored_and_the_way_out_is_said(settings):
    code = (
        "import logging, sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "from llm_audit.cli.settings import load_settings\n"
        "from llm_audit.cli.telemetry import open_telemetry\n"
        "settings = load_settings({'AUDIT_DATA_DIR': sys.argv[1], 'AUDIT_METRICS': 'off'})\n"
        "print(open_telemetry(settings, {'OTEL_EXPORTER_OTLP_ENDPOINT': 'http://127.0.0.1:9'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(settings.data_dir)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "None"
    assert "central-llm-audit[otel]" in done.stderr


@pytest.fixture
def collector():
    with Collector() as one:
        yield one


@pytest.fixture
def served(tmp_path, collector):
    console = free_port()
    one = Served(
        tmp_path,
        serve_command(free_port(), "--workers", "1"),
        AUDIT_CONSOLE=f"127.0.0.1:{console}",
        AUDIT_METRICS_TOKEN=TOKEN,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_METRIC_EXPORT_INTERVAL="200",
        OTEL_BSP_SCHEDULE_DELAY="200",
        OTEL_SERVICE_NAME="audit-of-tests",
    )
    one.console = console
    yield one.ready()
    one.end()


def scrape(served, **headers):
    """Give status and text of ``/metrics``; (None, "") while nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", served.console, timeout=30)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/metrics", headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return None, ""


def make_call(served, model, **headers):
    """Make a streamed call of a trace."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "q8Zk"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with contextlib.closing(served.connection()) as connection:
        headers = {**CALLER, "content-type": "application/json", **headers}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.headers["x-request-id"]


def test_calls_are_scraped_and_sent_as_they_were_made(served, collector):
    request_id = make_call(served, "one", traceparent=f"00-{TRACE}-{PARENT}-01")
    for _ in range(2):
        make_call(served, "two")
    assert served.call()[0] == 200
    _, text = eventually(
        lambda: (
            (found := scrape(served))[0] == 200 and value_of(found[1], f"{DURATIONS}_count") == 4 and found
        )
    )
    assert value_of(text, f"{DURATIONS}_count", gen_ai_request_model="two", llm_audit_source="tests") == 2
    assert value_of(text, "gen_ai_server_time_to_first_token_seconds_count") == 3
    assert value_of(text, "gen_ai_client_token_usage_sum", gen_ai_token_type="output") > 0
    assert value_of(text, "llm_audit_records_stored_total") == 4
    assert value_of(text, "llm_audit_journal_limit_bytes") == 64 * 2**20
    assert CALLER["x-llm-user"] not in text

    far = {"x-forwarded-for": "203.0.113.9"}
    assert scrape(served, **far)[0] == 401
    assert scrape(served, **far, authorization=f"Bearer {TOKEN}")[0] == 200

    eventually(lambda: len(collector.spans()) == 4)
    (span,) = [each for each in collector.spans() if each.trace_id.hex() == TRACE]
    assert span.parent_span_id.hex() == PARENT
    assert attributes(span)["llm_audit.request_id"] == request_id
    document = served.documents()[request_id]
    took_ms = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
    assert took_ms == document["latencyMs"]
    assert attributes(span)["gen_ai.usage.output_tokens"] == document["usage"]["outputTokens"]
    resource = collector.traces[0].resource_spans[0].resource
    assert attributes(resource)["service.name"] == "audit-of-tests"

    make_call(served, "last")
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(60) == 0
    assert len(collector.spans()) == 5
    durations = collector.metric(metrics.DURATION.name).histogram
    assert sum(point.count for point in durations.data_points) == 5
    sent = b"".join(request.SerializeToString() for request in (*collector.traces, *collector.metrics))
    assert b"q8Zk" not in sent
    assert CALLER["x-llm-user"].encode() not in sent
