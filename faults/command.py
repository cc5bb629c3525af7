"""The command line: which faults, how much of them, and the table at the end."""

from __future__ import annotations

import argparse
import dataclasses
import json
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from faults import report, runner
from faults.row import Result, Scale


def main(argv: Sequence[str] | None = None) -> int:
    """Run faults one after another; 1 if anything was found, 2 for wrong usage."""
    options = _options(argv)
    console = Console(stderr=options.json, width=None if sys.stdout.isatty() else 150)
    results = []
    for name in options.only or runner.names():
        console.print(f"[bold]{name}[/bold] …", highlight=False)
        folder = options.folder / name
        result = runner.run_one(name, options.seed, Scale(options.scale), folder)
        results.append(result)
        console.print(report.lines(result, folder), highlight=False)
    if options.json:
        for result in results:
            print(json.dumps({**dataclasses.asdict(result), "scale": result.scale.value}))
    else:
        console.print(report.table(results))
    if options.write_docs:
        report.write_docs(results)
    return _verdict(results, console)


def _verdict(results: list[Result], console: Console) -> int:
    broken = [result for result in results if result.is_broken]
    rows = sum(len(result.rows) for result in results)
    console.print(f"{rows} rows, {len(broken)} faults with findings", highlight=False)
    for result in broken:
        console.print(f"  again: {result.again}", highlight=False)
    return 1 if broken else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m faults",
        description="Make real faults happen, and count what is lost: nothing may be.",
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these faults: " + ", ".join(runner.names())
    )
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="of every choice")
    parser.add_argument("--scale", choices=[scale.value for scale in Scale], default=Scale.FULL.value)
    parser.add_argument("--json", action="store_true", help="one JSON line a fault instead of the table")
    parser.add_argument(
        "--write-docs", action="store_true", help=f"put these rows into {report.DOCUMENT.name}"
    )
    parser.add_argument("--folder", type=Path, help="where to work; what a finding left stays there")
    options = parser.parse_args(argv)
    unknown = sorted(set(options.only or ()) - set(runner.names()))
    if unknown:
        parser.error(f"no such fault: {', '.join(unknown)}; there are {', '.join(runner.names())}")
    if options.folder is None:
        options.folder = Path(tempfile.mkdtemp(prefix="faults-"))
    print(f"seed {options.seed}, scale {options.scale}, folder {options.folder}", file=sys.stderr)
    return options
