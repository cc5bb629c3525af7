"""All metrics at one moment, as values: what the shipper counts, and what is scraped or sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llm_audit.telemetry.metrics import BY_NAME, Kind

VERSION = 1
"""Of the published form; another one is not read."""

Labels = tuple[tuple[str, str], ...]
"""Names and values of a series, in a fixed order; values that a call does not have are left out."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram's state: calls per bucket (not cumulative), and the sum of their values."""

    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def since(self, before: Distribution | None) -> Distribution:
        """Give what came since ``before``."""
        if before is None:
            return self
        counts = tuple(now - then for now, then in zip(self.counts, before.counts, strict=True))
        return Distribution(counts, self.total - before.total)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All metrics at one moment. Times are milliseconds since the epoch."""

    started_at: int
    """When counting began: the shipper's start."""
    at: int
    calls: Mapping[str, Mapping[Labels, Distribution]]
    """By metric, by labels."""
    node: Mapping[str, float] = field(default_factory=dict)
    """By metric."""

    def since(self, before: Snapshot | None) -> Snapshot:
        """Give what histograms and counters counted since ``before``; gauges as they are."""
        if before is None:
            return self
        calls = {
            name: {
                labels: distribution.since(before.calls.get(name, {}).get(labels))
                for labels, distribution in series.items()
            }
            for name, series in self.calls.items()
        }
        node = {
            name: value - before.node.get(name, 0) if BY_NAME[name].kind is Kind.COUNTER else value
            for name, value in self.node.items()
        }
        return Snapshot(before.at, self.at, calls, node)

    def as_document(self) -> dict[str, Any]:
        """Give it for JSON."""
        return {
            "version": VERSION,
            "startedAt": self.started_at,
            "at": self.at,
            "calls": {
                name: [[labels, each.counts, each.total] for labels, each in series.items()]
                for name, series in self.calls.items()
            },
            "node": dict(self.node),
        }

    @classmethod
    def from_document(cls, document: Any) -> Snapshot | None:
        """Read what ``as_document`` gave; None for another version. Metrics that this version does not know are left out.

        Raises AttributeError, LookupError, TypeError or ValueError for rubbish.
        """
        if document["version"] != VERSION:
            return None
        calls = {
            name: {
                tuple((str(key), str(value)) for key, value in labels): Distribution(
                    tuple(map(int, counts)), float(total)
                )
                for labels, counts, total in series
            }
            for name, series in document["calls"].items()
            if name in BY_NAME
        }
        node = {name: float(value) for name, value in document["node"].items() if name in BY_NAME}
        return cls(int(document["startedAt"]), int(document["at"]), calls, node)
