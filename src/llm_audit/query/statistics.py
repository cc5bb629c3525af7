"""Statistics of calls: counts, errors, tokens, and percentiles that are real values, never estimates. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_audit.index.index import IndexReader
from llm_audit.index.selection import Selection
from llm_audit.index.tallies import Grouping, Tally

PERCENTS = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Milliseconds that so many percent of the calls did not exceed; None where no call has the measure."""

    p50: int | None
    p95: int | None
    p99: int | None


@dataclass(frozen=True, slots=True)
class GroupStatistics:
    """One group's calls. ``group`` is None for calls without a name to group by, and for all together."""

    group: str | None
    calls: int
    errors: int
    """Calls that did not end ``complete`` with a status under 400."""
    input_tokens: int
    output_tokens: int
    total_tokens: int
    latency_ms: Percentiles
    first_chunk_ms: Percentiles
    """Time to first chunk, of the calls that had one."""

    def as_dict(self, by: Grouping) -> dict[str, Any]:
        """Give the group with the contract's camelCase names."""
        named = {} if by is Grouping.ALL else {by.value: self.group}
        return {
            **named,
            "calls": self.calls,
            "errors": self.errors,
            "inputTokens": self.input_tokens,
            "outputTokens": self.output_tokens,
            "totalTokens": self.total_tokens,
            "latencyMs": _as_dict(self.latency_ms),
            "timeToFirstChunkMs": _as_dict(self.first_chunk_ms),
        }


@dataclass(frozen=True, slots=True)
class Statistics:
    """Every group, most calls first; ``partial`` where an index could not count every call."""

    by: Grouping
    groups: tuple[GroupStatistics, ...]
    partial: bool


def statistics(index: IndexReader, selection: Selection, by: Grouping = Grouping.ALL) -> Statistics:
    """Count a selection's calls by group. Raises IndexUnavailableError."""
    tallies = index.tallies(selection, by)
    return Statistics(by, tuple(map(_of_group, tallies.groups)), tallies.partial)


def percentile(counts: Mapping[int, int], percent: int) -> int | None:
    """Nearest rank: the smallest value that at least ``percent`` percent of all values do not exceed."""
    total = sum(counts.values())
    rank = -(-total * percent // 100)
    seen = 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= rank:
            return value
    return None


def _percentiles(counts: Counter[int]) -> Percentiles:
    return Percentiles(*(percentile(counts, percent) for percent in PERCENTS))


def _of_group(tally: Tally) -> GroupStatistics:
    return GroupStatistics(
        group=tally.group,
        calls=tally.calls,
        errors=tally.errors,
        input_tokens=tally.input_tokens,
        output_tokens=tally.output_tokens,
        total_tokens=tally.total_tokens,
        latency_ms=_percentiles(tally.latency_ms),
        first_chunk_ms=_percentiles(tally.first_chunk_ms),
    )


def _as_dict(values: Percentiles) -> dict[str, int | None]:
    return {"p50": values.p50, "p95": values.p95, "p99": values.p99}
