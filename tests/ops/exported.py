"""The names that a scrape brings, to which what ops/ holds is compared."""

import re

from prometheus_client.parser import text_string_to_metric_families

from llm_audit.telemetry.exposition import exposition
from telemetry.metrics_kit import snapshot

_FAMILIES = list(text_string_to_metric_families(exposition(snapshot(), "")[0].decode()))

EXPORTED = {sample.name for family in _FAMILIES for sample in family.samples}
LABELS = {name for family in _FAMILIES for sample in family.samples for name in sample.labels} | {
    "instance",
    "job",
}
"""Those of our metrics, and those that Prometheus adds."""


def names_in(text):
    """Give every name of ours in queries: metrics, not labels, and not what recording rules make."""
    found = re.findall(r"(?<![\w:])(?:llm_audit|gen_ai)_\w+(?![\w:])", text)
    return set(found) - LABELS
