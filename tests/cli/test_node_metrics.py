import contextlib
import json
import os
import signal

import pytest

from cli.served import Served, free_port, serve_command
from cli.waiting import eventually
from llm_audit.cli.node_metrics import node_metrics
from llm_audit.cli.settings import load_settings
from llm_audit.journal.counted import UNAUDITED, CountedCalls, read_counts
from llm_audit.ship.status import ShipperStatus


def status(**changes):
    fields = dict.fromkeys(ShipperStatus.__dataclass_fields__, 0) | {"state": "shipping"}
    return ShipperStatus(**(fields | changes))


@pytest.fixture
def settings(tmp_path):
    environ = {"AUDIT_DATA_DIR": str(tmp_path), "AUDIT_CLOUDWATCH_METRICS": "on", "AUDIT_SERVICE": "prod"}
    return load_settings(environ | {"AUDIT_JOURNAL_MAX_BYTES": "2MiB"})


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def count_calls(journal, writer, calls):
    (journal / writer).mkdir(parents=True, exist_ok=True)
    page = CountedCalls(journal / writer)
    for _ in range(calls):
        page.count(UNAUDITED)
    page.close()


def test_nobody_sees_the_status_unless_asked_for(tmp_path):
    assert node_metrics(load_settings({"AUDIT_DATA_DIR": str(tmp_path)}), 1) is None


def test_the_first_status_and_the_last_are_written_and_none_of_the_same_minute(settings, pipe):
    reader, writer = pipe
    see = node_metrics(settings, writer)
    see(status(backlog_bytes=2**20, backlog_age_ms=1500, quarantined=1, store_errors=2, updated_at=10))
    see(status(backlog_bytes=2**21, quarantined=1, store_errors=5, updated_at=11))
    see(status(state="stopped", quarantined=1, store_errors=5, updated_at=12))
    first, last = (json.loads(line) for line in os.read(reader, 65536).splitlines())
    assert first.pop("_aws")["Timestamp"] == 10
    assert first == {
        "Service": "prod",
        "JournalUsedRatio": 0.5,
        "ShippingLagSeconds": 1.5,
        "QuarantinedRecords": 1,
        "StoreErrors": 2,
        "UnauditedCalls": 0,
    }
    assert (last["JournalUsedRatio"], last["QuarantinedRecords"], last["StoreErrors"]) == (1.0, 0, 3)


def test_calls_that_went_through_unrecorded_are_counted_over_all_writers(settings, pipe):
    reader, writer = pipe
    count_calls(settings.journal_dir, "w-00000001", 2)
    page = CountedCalls(settings.journal_dir / "w-00000001")
    (counted,) = page.pending()
    page.will_be_told(counted, 1, 0)
    page.settle(1, 1)
    page.close()
    count_calls(settings.journal_dir, "w-00000001", 1)
    see = node_metrics(settings, writer)
    count_calls(settings.journal_dir, "w-00000002", 3)
    see(status())
    assert json.loads(os.read(reader, 65536))["UnauditedCalls"] == 4


def test_a_log_that_nobody_reads_keeps_nobody_waiting_and_is_told_once_it_is_read(settings, pipe):
    reader, writer = pipe
    os.set_blocking(writer, False)
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    see = node_metrics(settings, writer)
    see(status(store_errors=2))
    while filled:
        filled -= len(os.read(reader, filled))
    see(status(state="stopped", store_errors=3))
    assert json.loads(os.read(reader, 65536))["StoreErrors"] == 3


def test_a_writer_without_a_page_or_with_half_of_one_has_counted_nothing(tmp_path):
    assert read_counts(tmp_path) == (0, 0)
    (tmp_path / "counted").write_bytes(b"\0" * 5)
    assert read_counts(tmp_path) == (0, 0)


def test_serving_writes_the_line_as_it_is_since_cloudwatch_takes_no_prefix(tmp_path):
    served = Served(tmp_path, serve_command(free_port()), AUDIT_CLOUDWATCH_METRICS="on")
    try:
        served.ready().call()

        def lines():
            return [json.loads(line) for line in served.log.read_text().splitlines() if line.startswith("{")]

        eventually(lines)
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(60) == 0
    finally:
        served.end()
    assert [line["Service"] for line in lines()] == ["llm-audit"] * 2
    assert all(0 <= line["JournalUsedRatio"] <= 1 for line in lines())  # nothing, once all is shipped
