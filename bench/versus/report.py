"""Tables of what was measured, for ``docs/benchmarks.md``: medians, spread, and the ratios that we promise."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.versus.peers import PEERS
from bench.versus.rounds import Results

OURS = "llm-audit process"


@dataclass(frozen=True)
class Target:
    """A ratio, or a difference, that must not be larger; ``value`` gives it for each round."""

    says: str
    limit: float
    unit: str
    value: Callable[[Results], list[float]]


def _each(results: Results, work: str, peer: str, figure: str) -> list[float]:
    return [measured[figure] for measured in results.get(work, {}).get(peer, []) if figure in measured]


def _ratio(work: str, figure: str, other: str) -> Callable[[Results], list[float]]:
    def value(results: Results) -> list[float]:
        ours, theirs = _each(results, work, OURS, figure), _each(results, work, other, "us")
        return [one / two for one, two in zip(ours, theirs, strict=False)]

    return value


def _added(figure: str, peer: str, than: str) -> Callable[[Results], list[float]]:
    def value(results: Results) -> list[float]:
        ours, theirs = _each(results, "latency", peer, figure), _each(results, "latency", than, figure)
        return [one - two for one, two in zip(ours, theirs, strict=False)]

    return value


def _pair(results: Results) -> list[float]:
    proxy, shipper = _each(results, "small", OURS, "us.proxy"), _each(results, "small", OURS, "us.shipper")
    return [one + two for one, two in zip(proxy, shipper, strict=True)]


def _pair_of_litellm(results: Results) -> list[float]:
    return [
        one / two for one, two in zip(_pair(results), _each(results, "small", "litellm", "us"), strict=False)
    ]


TARGETS = (
    Target("CPU of the proxy per small call / vllm-router", 0.9, "", _ratio("small", "us.proxy", "vllm-router")),
    Target("CPU of the proxy per small call / nginx", 2.8, "", _ratio("small", "us.proxy", "nginx")),
    Target("CPU of the proxy per 100-chunk stream / vllm-router", 1.15, "", _ratio("stream", "us.proxy", "vllm-router")),
    Target("CPU of the proxy per 100-chunk stream / nginx", 1.9, "", _ratio("stream", "us.proxy", "nginx")),
    Target("added latency, p50, at half of our saturation", 0.3, "ms", _added("p50", OURS, "direct")),
    Target("added latency, p99, at half of our saturation", 2.0, "ms", _added("p99", OURS, "direct")),
    Target("CPU of proxy and shipper per small call", 350, "µs", _pair),
    Target("CPU of proxy and shipper per small call / LiteLLM without logging", 1 / 30, "", _pair_of_litellm),
    Target("memory of the proxy with 1,000 open streams", 150, "MB", lambda r: _each(r, "1,000 streams", OURS, "mb.proxy")),
)  # fmt: skip


def document(results: Results, rounds: int) -> str:
    """Give the generated part of the document."""
    parts = [_machine(rounds), _targets(results)]
    for work, about in (
        ("small", "A small chat call"),
        ("stream", "A stream of 100 chunks that come one by one, 64 at a time"),
        ("100 KB", "A prompt of 100 KB"),
        ("5 MB", "A prompt of 5 MB"),
        ("mix", "Calls recorded at a real vLLM"),
        ("1,000 streams", "A thousand open streams"),
    ):
        if work in results:
            parts.append(f"### {about}\n\n" + "\n".join(_rows(results, work)) + "\n")
    if "latency" in results:
        parts.append("### Latency\n\n" + "\n".join(_latency_rows(results)) + "\n")
    return "\n".join(parts)


def _machine(rounds: int) -> str:
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return (
        f"{os.cpu_count()} cores ({model}), Linux {platform.release()}, Python {platform.python_version()}; clients, "
        f"model server and peer share them. Medians of {rounds} interleaved rounds, the lowest and highest in brackets.\n"
    )


def _targets(results: Results) -> str:
    lines = ["| what | measured | target | |", "|---|--:|--:|---|"]
    for target in TARGETS:
        values = target.value(results)
        if values:
            verdict = "met" if statistics.median(values) <= target.limit else "**not met**"
            limit = f"{target.limit:.3g} {target.unit}".strip()
            lines.append(f"| {target.says} | {_spread(values, target.unit)} | ≤ {limit} | {verdict} |")
    return "\n".join(lines) + "\n"


def _rows(results: Results, work: str) -> Iterator[str]:
    yield "| | CPU per call, µs | of it: proxy | shipper | calls a second | memory, MB |"
    yield "|---|--:|--:|--:|--:|--:|"
    for peer in PEERS:
        if peer.name in results[work]:
            columns = [
                _spread(_each(results, work, peer.name, figure))
                for figure in ("us", "us.proxy", "us.shipper", "rps", "mb")
            ]
            yield f"| {peer.name} | " + " | ".join(columns) + " |"


def _latency_rows(results: Results) -> Iterator[str]:
    rates = _each(results, "latency", "direct", "rate")
    yield f"Calls at {statistics.median(rates):,.0f} a second, half of what we can take; who cannot take that is left out.\n"
    yield "| | p50, ms | p99, ms |"
    yield "|---|--:|--:|"
    for name in ("direct", *(peer.name for peer in PEERS)):
        if name in results["latency"]:
            p50, p99 = _each(results, "latency", name, "p50"), _each(results, "latency", name, "p99")
            yield f"| {name} | {_spread(p50)} | {_spread(p99)} |"


def _spread(values: Sequence[float], unit: str = "") -> str:
    if not values:
        return "-"
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{_figure(middle)} ({_figure(low)}-{_figure(high)}) {unit}".strip()


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
