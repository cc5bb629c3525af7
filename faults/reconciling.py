"""What ``llm-audit reconcile`` says of a system that has stopped: the product's own answer, beside ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from faults.system import System


def reconciled(system: System, records: int) -> tuple[str, ...]:
    """Compare journal, store and index, every object read; one sentence for each finding.

    ``records``: how many there are by another count.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AUDIT_")}
    done = subprocess.run(
        [sys.executable, "-m", "llm_audit", "reconcile", "--deep", "--json", "--grace", "0s"],
        env=kept | {"AUDIT_DATA_DIR": system.settings["AUDIT_DATA_DIR"]},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if not lines:
        return (f"reconcile says nothing: {done.stderr[-500:]}",)
    found = [f"reconcile: {one['finding']} {one['subject']}: {one['detail']}" for one in lines[:-1]]
    figures = lines[-1]["figures"]
    if not found and {figures[name] for name in ("accepted", "recorded", "indexed")} != {records}:
        found.append(f"reconcile counts otherwise: {figures}, and there are {records} records")
    return tuple(found)
