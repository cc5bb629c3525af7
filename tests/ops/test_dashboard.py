"""The Grafana dashboard: whole, and about metrics that there are."""

import json
import re
from pathlib import Path

from llm_audit.telemetry.metrics import CALL_METRICS, NODE_METRICS
from ops.exported import EXPORTED, LABELS, names_in
from ops.promtool import promtool

DASHBOARD = json.loads((Path(__file__).parents[2] / "ops" / "grafana" / "central-llm-audit.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


def test_every_panel_has_a_title_a_unit_and_a_query():
    assert PANELS
    for panel in PANELS:
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_panels_do_not_overlap_and_fit_the_width():
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_queries_and_variables_speak_of_metrics_that_are_exported():
    definitions = [one["definition"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    for query in (*QUERIES, *definitions):
        assert names_in(query), query
        assert names_in(query) <= EXPORTED, query


def test_queries_tell_apart_by_labels_that_there_are():
    for query in QUERIES:
        assert set(re.findall(r'(\w+)(?:=~|!=|=)"', query)) <= LABELS, query
        for names in re.findall(r"by \(([^)]*)\)", query):
            assert set(names.split(", ")) <= LABELS, query


def test_prometheus_can_read_every_query(tmp_path):
    rules = [
        {"record": f"panel:query:{number}", "expr": re.sub(r"\$__\w+", "5m", query)}
        for number, query in enumerate(QUERIES)
    ]
    (tmp_path / "panels.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    code, said = promtool("check", "rules", "panels.yml", folder=tmp_path)
    assert code == 0, said


def test_every_metric_is_on_the_dashboard():
    shown = " ".join(QUERIES)
    for metric in (*CALL_METRICS, *NODE_METRICS):
        assert metric.prometheus in shown


def test_variables_that_are_used_are_defined():
    defined = {one["name"] for one in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(DASHBOARD)))
    assert used == defined
