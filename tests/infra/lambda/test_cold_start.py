"""What a cold start costs: the function's file against a bare ``import boto3``, in the same run."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

HANDLER = Path(__file__).parents[3] / "infra/lambda/llm-audit-ingest"
ROUNDS = 6
TIMES = 1.3


def run(code: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {"PYTHONPATH": str(HANDLER)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    ).stdout


def cpu_seconds(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def modules(code: str) -> set[str]:
    return set(run(f"{code}; import sys; print(' '.join(sys.modules))").split())


def test_importing_the_function_costs_little_more_than_importing_boto3():
    """Interleaved, and the least of several runs: CPU time, which other processes disturb little."""
    pairs = [(cpu_seconds("import boto3"), cpu_seconds("import handler")) for _ in range(ROUNDS)]
    boto3, handler = (min(times) for times in zip(*pairs, strict=True))
    assert handler <= boto3 * TIMES, f"{handler * 1000:.0f} ms, boto3 alone {boto3 * 1000:.0f} ms"


def test_the_function_imports_nothing_that_it_does_not_need():
    needed = {"handler", "unicodedata", "array", "_array", "zlib", "concurrent.futures"}
    more = {name for name in modules("import handler") - modules("import boto3") if not name.startswith("_")}
    assert more <= needed, more
    roots = {name.partition(".")[0] for name in modules("import handler")}
    assert not roots & {"llm_audit", "boto3", "obstore", "orjson", "asyncio", "sqlite3"}
