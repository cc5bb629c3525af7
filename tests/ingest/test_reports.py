"""The function's log: lines of JSON that are metrics as well, and hold no content."""

from __future__ import annotations

import json

from llm_audit.ingest.reports import AGES_PER_LINE, summary_lines, trouble_line

COUNTS = {"processed": 5, "written": 3, "skipped": 1, "errors": 1}


def test_an_invocation_is_one_line_that_cloudwatch_reads_as_metrics():
    (line,) = summary_lines(
        COUNTS, [7, 1200, 40], "llm-audit-ingest", 1_795_521_600_000, {"requestId": "r-1"}
    )
    said = json.loads(line)
    (directive,) = said["_aws"]["CloudWatchMetrics"]
    assert said["_aws"]["Timestamp"] == 1_795_521_600_000
    assert (directive["Namespace"], directive["Dimensions"]) == ("CentralLLMAudit", [["FunctionName"]])
    assert {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]} == {
        "IngestProcessed": "Count",
        "IngestWritten": "Count",
        "IngestSkipped": "Count",
        "IngestErrors": "Count",
        "IngestAgeMs": "Milliseconds",
    }
    assert {
        name: said[name] for name in ("IngestProcessed", "IngestWritten", "IngestSkipped", "IngestErrors")
    } == {
        "IngestProcessed": 5,
        "IngestWritten": 3,
        "IngestSkipped": 1,
        "IngestErrors": 1,
    }
    assert said["IngestAgeMs"] == [7, 1200, 40]
    assert (said["FunctionName"], said["requestId"], said["level"]) == ("llm-audit-ingest", "r-1", "ERROR")


def test_every_metric_that_is_named_has_a_value_and_one_that_has_none_is_not_named():
    for ages in ([], [1], list(range(250))):
        for line in summary_lines(COUNTS, ages, "f", 1, {}):
            said = json.loads(line)
            for metric in said["_aws"]["CloudWatchMetrics"][0]["Metrics"]:
                assert metric["Name"] in said


def test_more_items_than_a_metric_may_have_values_take_more_lines_and_count_once():
    lines = [json.loads(line) for line in summary_lines(COUNTS, list(range(250)), "f", 1, {})]
    assert [len(line["IngestAgeMs"]) for line in lines] == [AGES_PER_LINE, AGES_PER_LINE, 50]
    assert [line.get("IngestProcessed") for line in lines] == [5, None, None]


def test_a_hostile_key_is_one_line_of_ascii():
    line = trouble_line("failed", "why", None, "b", "logs/\n\x1b[2J\u202e\ud800" + "x" * 5000)
    assert line.isascii()
    assert line.isprintable()
    assert len(line) < 1300
    assert json.loads(line)["level"] == "ERROR"


def test_what_is_not_known_is_not_said():
    assert json.loads(trouble_line("skipped", "why", None)) == {
        "level": "WARNING",
        "message": "skipped",
        "reason": "why",
    }
