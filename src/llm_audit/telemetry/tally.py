"""Counts calls into the metrics' histograms, with a bound on how many series there can be. Pure.

Callers name models and sources as they like, so values are cut, and of each label only the first ``MOST_VALUES``
are kept; all others count as ``other``. Nobody can fill memory or a metrics' server with names.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from llm_audit.record.schema import DERIVED_STRING_LIMIT
from llm_audit.telemetry.call import Call, Series
from llm_audit.telemetry.metrics import DURATION, FIRST_TOKEN, LABELS, PER_TOKEN, TOKEN_TYPE, TOKENS, Metric
from llm_audit.telemetry.snapshot import Distribution, Labels

MOST_VALUES = 100
"""Distinct values of each label that callers or model servers choose."""
MOST_SERIES = 2000
"""Distinct combinations of values; beyond, all labels of free choice say ``other``."""
OTHER = "other"

_REMEMBERED = 10_000
_FREE = (2, 3, 4, 7)
"""Labels whose values others choose: both models, source, error type."""

_DURATION, _FIRST, _PER, _TOKENS = DURATION.bounds, FIRST_TOKEN.bounds, PER_TOKEN.bounds, TOKENS.bounds


class _Histogram:
    """Counts per bucket, growing. Written out in the loop below: a method's call would cost as much as the counting."""

    __slots__ = ("counts", "total")

    def __init__(self, metric: Metric) -> None:
        self.counts = [0] * (len(metric.bounds) + 1)
        self.total = 0.0

    @property
    def frozen(self) -> Distribution:
        return Distribution(tuple(self.counts), self.total)


class _SeriesCounts:
    """One combination of label values."""

    __slots__ = ("duration", "first", "input", "labels", "output", "per_token")

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self.duration = _Histogram(DURATION)
        self.first = _Histogram(FIRST_TOKEN)
        self.per_token = _Histogram(PER_TOKEN)
        self.input = _Histogram(TOKENS)
        self.output = _Histogram(TOKENS)


class CallTally:
    """Counts calls. For one thread."""

    def __init__(self, *, most_values: int = MOST_VALUES, most_series: int = MOST_SERIES) -> None:
        self._most_values, self._most_series = most_values, most_series
        self._values: dict[int, set[str]] = {place: set() for place in _FREE}
        self._by_labels: dict[tuple[str, ...], _SeriesCounts] = {}
        self._remembered: dict[Series, _SeriesCounts] = {}

    def add(self, calls: Iterable[Call]) -> None:
        """Count calls."""
        remembered = self._remembered
        for series, duration, first, per_token, input_tokens, output_tokens, _span in calls:
            into = remembered.get(series) or self._find(series)
            histogram = into.duration
            histogram.counts[bisect_left(_DURATION, duration)] += 1
            histogram.total += duration
            if first is not None:
                histogram = into.first
                histogram.counts[bisect_left(_FIRST, first)] += 1
                histogram.total += first
            if per_token is not None:
                histogram = into.per_token
                histogram.counts[bisect_left(_PER, per_token)] += 1
                histogram.total += per_token
            if input_tokens is not None:
                histogram = into.input
                histogram.counts[bisect_left(_TOKENS, input_tokens)] += 1
                histogram.total += input_tokens
            if output_tokens is not None:
                histogram = into.output
                histogram.counts[bisect_left(_TOKENS, output_tokens)] += 1
                histogram.total += output_tokens

    def distributions(self) -> Mapping[str, Mapping[Labels, Distribution]]:
        """Give what was counted: by metric, by labels; series without a value are left out."""
        every = list(self._by_labels.values())
        tokens = {
            (*series.labels, (TOKEN_TYPE, kind)): histogram.frozen
            for series in every
            for kind, histogram in (("input", series.input), ("output", series.output))
        }
        found = {
            DURATION.name: {series.labels: series.duration.frozen for series in every},
            FIRST_TOKEN.name: {series.labels: series.first.frozen for series in every},
            PER_TOKEN.name: {series.labels: series.per_token.frozen for series in every},
            TOKENS.name: tokens,
        }
        return {
            name: {labels: each for labels, each in series.items() if any(each.counts)}
            for name, series in found.items()
        }

    def _find(self, series: Series) -> _SeriesCounts:
        """Find where a combination not seen lately is counted."""
        values = ["" if value == 0 else str(value)[:DERIVED_STRING_LIMIT] for value in series]
        for place in _FREE:
            values[place] = self._known(place, values[place])
        if len(self._by_labels) >= self._most_series and tuple(values) not in self._by_labels:
            for place in _FREE:
                values[place] = OTHER
        into = self._by_labels.get(tuple(values))
        if into is None:
            labels = tuple((name, value) for name, value in zip(LABELS, values, strict=True) if value)
            into = self._by_labels[tuple(values)] = _SeriesCounts(labels)
        if len(self._remembered) >= _REMEMBERED:
            self._remembered.clear()
        self._remembered[series] = into
        return into

    def _known(self, place: int, value: str) -> str:
        known = self._values[place]
        if value in known or not value:
            return value
        if len(known) >= self._most_values:
            return OTHER
        known.add(value)
        return value
