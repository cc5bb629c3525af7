"""The node's health as one line of CloudWatch's embedded metric format: a log line that becomes metrics. Pure.

Format: CloudWatch User Guide, "Specification: Embedded metric format". The log event must be that JSON object and
nothing else, which is why the line goes to standard output as it is, without the supervisor's prefix.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

NAMESPACE = "CentralLLMAudit"

METRICS = {
    "JournalUsedRatio": "None",
    "ShippingLagSeconds": "Seconds",
    "QuarantinedRecords": "Count",
    "StoreErrors": "Count",
    "UnauditedCalls": "Count",
}
"""Names and CloudWatch units. A ratio is from 0 to 1, so that one threshold fits every journal size."""


@dataclass(frozen=True, slots=True)
class NodeSample:
    """How the node stands at one moment. The last three are totals, which only grow."""

    journal_used_ratio: float
    """Bytes that the journal's files occupy, of those that it may."""
    shipping_lag_s: float
    """How long ago the oldest call ended whose record is not stored; 0 where none waits."""
    quarantined: int
    store_errors: int
    unaudited: int
    """Calls that went through without a record (``AUDIT_WHEN_FULL=pass``)."""


class NodeMetrics:
    """Gathers samples and gives a line: the worst level since the last line, the increase of each total.

    A level that peaked between two lines shows, and an alarm may sum the counts.
    """

    def __init__(self, service: str, *, unaudited_before: int = 0) -> None:
        """``service`` is the metrics' dimension; ``unaudited_before`` was counted in a former life and told then."""
        self._service = service
        self._told = NodeSample(0.0, 0.0, 0, 0, unaudited_before)
        self._now: NodeSample | None = None

    def add(self, sample: NodeSample) -> None:
        """Take in one sample."""
        before = self._now or sample
        self._now = replace(
            sample,
            journal_used_ratio=max(before.journal_used_ratio, sample.journal_used_ratio),
            shipping_lag_s=max(before.shipping_lag_s, sample.shipping_lag_s),
        )

    def line(self, at_ms: int) -> str | None:
        """Give the line for all samples since ``told``, without a line end; None where there is none.

        ``at_ms`` is the wall clock, in milliseconds since the epoch.
        """
        now, told = self._now, self._told
        if now is None:
            return None
        values = (
            round(now.journal_used_ratio, 6),
            round(now.shipping_lag_s, 3),
            max(0, now.quarantined - told.quarantined),
            max(0, now.store_errors - told.store_errors),
            max(0, now.unaudited - told.unaudited),
        )
        directive = {
            "Namespace": NAMESPACE,
            "Dimensions": [["Service"]],
            "Metrics": [{"Name": name, "Unit": unit} for name, unit in METRICS.items()],
        }
        return json.dumps(
            {
                "_aws": {"Timestamp": at_ms, "CloudWatchMetrics": [directive]},
                "Service": self._service,
                **dict(zip(METRICS, values, strict=True)),
            },
            separators=(",", ":"),
        )

    def told(self) -> None:
        """Take note that the line was written; one that was not is made up for by the next."""
        if self._now is not None:
            self._told, self._now = self._now, None
