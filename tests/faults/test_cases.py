"""The short scale of faults: what is promised holds, against the real processes.

All of them take a minute and a half of CPU. So each run has those that hit the journal's promise itself and some of the
others, drawn anew: over a day of runs, all. ``AUDIT_ALL_FAULTS=1`` (and ``make faults``) has every one.
"""

import os
import random
from pathlib import Path

import pytest

from faults import runner
from faults.row import Scale

ALWAYS = ("crash_points", "disk_full", "kill", "power_cut", "store_away", "torn_and_flipped")
DRAWN = 6


def chosen() -> list[str]:
    """Give the names of this run, the same for all of pytest's workers."""
    if os.environ.get("AUDIT_ALL_FAULTS") == "1":
        return runner.names()
    others = sorted(set(runner.names()) - set(ALWAYS))
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    return sorted([*ALWAYS, *random.Random(run).sample(others, DRAWN)])


@pytest.mark.parametrize("name", chosen())
def test_nothing_is_lost_doubled_or_left_unsaid_under(name: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    result = runner.run_one(name, seed, Scale.SHORT, tmp_path / name)
    found = [finding for row in result.rows for finding in row.findings]
    assert not found, f"again: {result.again}\n" + "\n".join(found)
    assert result.rows, "a fault without a row proves nothing"
