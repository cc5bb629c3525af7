"""Every metric that we give: its name, unit and meaning, and the labels of those that speak of calls. Pure.

Names, units, attributes and bucket boundaries of calls are those of OpenTelemetry's GenAI conventions
(open-telemetry/semantic-conventions-genai, ``gen-ai-metrics``, "Generative AI model server metrics"); for tokens the
conventions know only the client's metric. What the conventions do not name begins with ``llm_audit.``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """How a metric's values behave."""

    HISTOGRAM = "histogram"
    COUNTER = "counter"
    """A total since the shipper's start, or since the journal's first day; it only grows in between."""
    GAUGE = "gauge"


_SUFFIXES = {"s": "_seconds", "By": "_bytes"}
"""Units (UCUM) that Prometheus spells out; annotations such as ``{token}`` are dropped."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, by its OpenTelemetry name."""

    name: str
    unit: str
    kind: Kind
    meaning: str
    bounds: tuple[float, ...] = ()
    """Upper, inclusive boundaries of a histogram's buckets; the last bucket has none."""

    @property
    def prometheus(self) -> str:
        """The name that Prometheus scrapes, by OpenTelemetry's rules of translation; without a counter's ``_total``."""
        return self.name.replace(".", "_") + _SUFFIXES.get(self.unit, "")


DURATION = Metric(
    "gen_ai.server.request.duration",
    "s",
    Kind.HISTOGRAM,
    "First byte of the request to the end of the call, as the proxy saw it.",
    (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
FIRST_TOKEN = Metric(
    "gen_ai.server.time_to_first_token",
    "s",
    Kind.HISTOGRAM,
    "First byte of the request to the first byte of a streamed, successful response's body.",
    (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
PER_TOKEN = Metric(
    "gen_ai.server.time_per_output_token",
    "s",
    Kind.HISTOGRAM,
    "Time per output token after the first one of a streamed, successful response.",
    (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
)
TOKENS = Metric(
    "gen_ai.client.token.usage",
    "{token}",
    Kind.HISTOGRAM,
    "Tokens of a call, as the model server counted them.",
    (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864),
)
CALL_METRICS = (DURATION, FIRST_TOKEN, PER_TOKEN, TOKENS)

LABELS = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "llm_audit.source",
    "llm_audit.outcome",
    "http.response.status_code",
    "error.type",
)
"""What each metric of calls is told apart by; a value that a call does not have is empty. Never the user."""
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - a label, no secret
"""``input`` or ``output``; of ``TOKENS`` alone."""


def _gauge(name: str, unit: str, meaning: str) -> Metric:
    return Metric(f"llm_audit.{name}", unit, Kind.GAUGE, meaning)


def _counter(name: str, unit: str, meaning: str) -> Metric:
    return Metric(f"llm_audit.{name}", unit, Kind.COUNTER, meaning)


STATUS_TIME = _gauge("status.timestamp", "s", "When the shipper said all this, since the epoch.")
JOURNAL_USED = _gauge("journal.used", "By", "What the journal's files occupy.")
JOURNAL_LIMIT = _gauge("journal.limit", "By", "What they may occupy (AUDIT_JOURNAL_MAX_BYTES).")
JOURNAL_UNREADABLE = _gauge("journal.unreadable", "{writer}", "Writers whose journal cannot be read now.")
OPEN_CALLS = _gauge("journal.open_calls", "{call}", "Calls that have begun and not ended.")
SHIPPING_LAG = _gauge("shipping.lag", "s", "How long ago the oldest call ended whose record is not stored.")
SHIPPING_WAITING = _gauge("shipping.waiting", "{record}", "Calls that ended, were read and are not stored.")
SHIPPING_REFUSED = _gauge(
    "shipping.refused", "{record}", "Records that the store refuses for their own sake."
)
LEDGER_FAILING = _gauge(
    "ledger.failing", "{ledger}", "1 while the shipper's ledger cannot be written, else 0."
)
INDEX_UNTOLD = _gauge("index.untold", "{record}", "Stored records that the index was not told of yet.")
QUARANTINE_KEPT = _gauge("quarantine.kept", "{call}", "Calls in the quarantine folder: stored as stubs.")
RECORDS_STORED = _counter("records.stored", "{record}", "Records stored since the shipper's start.")
RECORDS_QUARANTINED = _counter("records.quarantined", "{record}", "Stubs among them.")
BROKEN_LINKS = _counter(
    "chain.broken_links", "{record}", "Records whose predecessor lies in the store with another digest."
)
STORE_ERRORS = _counter("store.errors", "{error}", "Puts that failed, and were or will be tried again.")
UNAUDITED = _counter(
    "calls.unaudited", "{call}", "Calls that went through without a record (AUDIT_WHEN_FULL=pass)."
)
COUNTED_REFUSALS = _counter(
    "refusals.counted", "{call}", "Refusals beyond a hundred a second, which have no record of their own."
)

NODE_METRICS = (
    STATUS_TIME,
    JOURNAL_USED,
    JOURNAL_LIMIT,
    JOURNAL_UNREADABLE,
    OPEN_CALLS,
    SHIPPING_LAG,
    SHIPPING_WAITING,
    SHIPPING_REFUSED,
    LEDGER_FAILING,
    INDEX_UNTOLD,
    QUARANTINE_KEPT,
    RECORDS_STORED,
    RECORDS_QUARANTINED,
    BROKEN_LINKS,
    STORE_ERRORS,
    UNAUDITED,
    COUNTED_REFUSALS,
)
"""How journal, shipper, store and index stand: one value each, without labels."""

BY_NAME = {metric.name: metric for metric in (*CALL_METRICS, *NODE_METRICS)}


def prometheus_label(name: str) -> str:
    """Give an attribute's name as Prometheus' label."""
    return name.replace(".", "_")
