"""What ``llm-audit reconcile`` says of a system: the product's own answer, beside ours."""

from __future__ import annotations

import collections

from faults.commands import llm_audit
from faults.system import System


def reconciled(system: System, records: int) -> tuple[str, ...]:
    """Compare journal, store and index of a system that has stopped, every object read; one sentence for each finding.

    ``records``: how many there are by another count.
    """
    done = llm_audit(system, "reconcile", "--deep", "--json", "--grace", "0s")
    lines = done.lines()
    if not lines:
        return (f"reconcile says nothing: {done.error[-500:]}",)
    found = [f"reconcile: {one['finding']} {one['subject']}: {one['detail']}" for one in lines[:-1]]
    figures = lines[-1]["figures"]
    counts = {
        name: figures[name] for name in ("accepted", "recorded", "indexed") if figures[name] is not None
    }
    if not found and set(counts.values()) != {records}:
        found.append(f"reconcile counts otherwise: {figures}, and there are {records} records")
    return tuple(found)


def kinds_found(system: System) -> collections.Counter[str]:
    """Count what it finds, by kind, while the system may be running."""
    done = llm_audit(system, "reconcile", "--json", "--grace", "0s")
    if not done.said:
        raise RuntimeError(f"reconcile says nothing: {done.error[-500:]}")
    return collections.Counter(str(one["finding"]) for one in done.lines()[:-1])
