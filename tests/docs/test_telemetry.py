"""docs/telemetry.md names every metric as it is exported, and files that there are."""

import re
from pathlib import Path

from llm_audit.telemetry.metrics import CALL_METRICS, NODE_METRICS, Kind

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "telemetry.md").read_text()


def test_the_table_is_what_is_exported():
    rows = re.findall(r"^\| `([a-z_.]+)` \| `(\w+)` \| (\w+), `(\S+)` \| (.*) \|$", TEXT, re.MULTILINE)
    assert rows == [
        (
            metric.name,
            metric.prometheus + ("_total" if metric.kind is Kind.COUNTER else ""),
            metric.kind.value,
            metric.unit,
            metric.meaning,
        )
        for metric in (*CALL_METRICS, *NODE_METRICS)
    ]


def test_the_files_that_it_links_to_are_there():
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert links
    for link in links:
        assert (DOCS / link).exists(), link
