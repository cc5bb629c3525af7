"""Bars of the CPU per call, one SVG a work; runs in an environment of its own that has matplotlib.

python plots.py RESULTS.json FOLDER
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "llm-audit"  # the same figures give the same file
from matplotlib import pyplot as plt  # noqa: E402 - after the choice of what it draws with

FILES = {"small": "small", "stream": "stream", "100 KB": "prompt-100-kb", "5 MB": "prompt-5-mb", "mix": "mix"}


def draw(work: str, peers: dict[str, list[dict[str, float]]], file: Path) -> None:
    """Draw one work; LiteLLM is so far off that the axis is logarithmic."""
    names = list(reversed(peers))
    middles = [statistics.median(one["us"] for one in peers[name]) for name in names]
    lows = [
        middle - min(one["us"] for one in peers[name]) for middle, name in zip(middles, names, strict=True)
    ]
    highs = [
        max(one["us"] for one in peers[name]) - middle for middle, name in zip(middles, names, strict=True)
    ]
    figure, axes = plt.subplots(figsize=(7, 0.42 * len(names) + 1))
    colours = ["#c2410c" if name.startswith("llm-audit") else "#64748b" for name in names]
    axes.barh(names, middles, xerr=[lows, highs], color=colours, ecolor="#111827", capsize=2)
    axes.set_xscale("log")
    axes.set_xlabel(f"µs of CPU per call ({work}), all processes, logarithmic")
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    results = json.loads(Path(sys.argv[1]).read_text())["results"]
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for one, name in FILES.items():
        if one in results:
            draw(one, results[one], folder / f"{name}.svg")
