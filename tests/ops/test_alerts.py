"""The alert rules, checked and tested with Prometheus' own promtool."""

import re
from pathlib import Path

from ops.exported import EXPORTED, names_in
from ops.promtool import promtool

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "ops" / "prometheus"
RULES = (FOLDER / "alerts.yml").read_text()
TESTS = (FOLDER / "alerts_test.yml").read_text()
ALERTS = re.findall(r"- alert: (\w+)", RULES)


def test_rules_and_the_example_of_a_configuration_are_valid():
    for arguments in (("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml")):
        code, said = promtool(*arguments, folder=FOLDER)
        assert code == 0, said


def test_each_alert_fires_when_it_should_and_only_then():
    code, said = promtool("test", "rules", "alerts_test.yml", folder=FOLDER)
    assert code == 0, said


def test_each_alert_is_tested_both_ways():
    cases = re.findall(r"alertname: (\w+)\n\s+exp_alerts:( \[\])?", TESTS)
    assert {alert for alert, quiet in cases if not quiet} == set(ALERTS)
    assert {alert for alert, quiet in cases if quiet} == set(ALERTS)


def test_a_limit_that_moves_is_noticed(tmp_path):
    moved = re.sub(r"> ([\d.]+)$", lambda found: f"> {float(found[1]) * 1000}", RULES, flags=re.MULTILINE)
    assert moved != RULES
    (tmp_path / "alerts.yml").write_text(moved)
    (tmp_path / "alerts_test.yml").write_text(TESTS)
    code, said = promtool("test", "rules", "alerts_test.yml", folder=tmp_path)
    assert code == 1
    for alert in ("LlmAuditShippingLag", "LlmAuditErrorRate", "LlmAuditSlow"):
        assert alert in said


def test_rules_speak_of_metrics_that_are_exported():
    used = names_in(RULES)
    assert used
    assert used <= EXPORTED
