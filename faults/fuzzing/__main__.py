"""``make fuzz``: every target for a while; 1 if one broke, 2 for wrong usage.

``--keep`` then adds what reached something new to the corpus, and drops from it what others reach as well.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence

from faults.fuzzing import kept, running
from faults.fuzzing.targets import TARGETS


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz, and say what was seen."""
    options = _options(argv)
    if not running.is_possible():
        print("atheris is not here: it runs on Linux, on CPython 3.11 to 3.13", file=sys.stderr)
        return 2
    print(f"seed {options.seed}, {options.seconds} s a target", file=sys.stderr)
    broken = False
    for target in options.only or TARGETS:
        done = running.fuzz(target, options.seconds, options.seed)
        print(f"{target}: {said(done)}", flush=True)
        broken |= bool(done.broken)
        if options.keep and done.new:
            kept.keep(target, running.fewest(target, done.new))
    return int(broken)


def said(done: running.Fuzzed) -> str:
    """Say what a run gave, in a line."""
    seen = f"{done.runs:,} inputs in {done.seconds} s, {done.edges:,} edges reached, {len(done.new):,} new inputs"
    return f"{done.broken} ({seen})" if done.broken else seen


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m faults.fuzzing", description="Look for bytes that break a parser."
    )
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--only", nargs="+", choices=sorted(TARGETS), help="these targets")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31), help="libFuzzer's")
    parser.add_argument("--keep", action="store_true", help="add what is new to the corpus")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
