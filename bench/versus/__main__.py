"""``python -m bench.versus``: measure, and write the tables.

python -m bench.versus [--rounds 7] [--scale 1] [--peers nginx,vllm-router] [--only small,stream] [--write]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from bench.versus.peers import ROOT
from bench.versus.report import document
from bench.versus.rounds import measure

DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- measured: written by python -m bench.versus --write -->", "<!-- end of measured -->"


def main() -> None:
    """Measure and print; with ``--write`` into the document as well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0, help="length of each load: 0.3 for a quick look")
    parser.add_argument("--peers", default="", help="names, by commas; all without")
    parser.add_argument("--only", default="", help="works, by commas; all without")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "bench.json")
    parser.add_argument("--write", action="store_true", help=f"renew {DOCUMENT.relative_to(ROOT)}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        results = measure(
            Path(folder),
            rounds=options.rounds,
            scale=options.scale,
            peers=[name for name in options.peers.split(",") if name],
            only=[name for name in options.only.split(",") if name],
        )
    options.results.parent.mkdir(parents=True, exist_ok=True)
    options.results.write_text(json.dumps({"rounds": options.rounds, "results": results}, indent=1))
    text = document(results, options.rounds)
    sys.stdout.write(text)
    if options.write:
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        DOCUMENT.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
