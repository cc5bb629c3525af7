"""The short scale of every fault: what is promised holds, against the real processes."""

import random
from pathlib import Path

import pytest

from faults import runner
from faults.row import Scale


@pytest.mark.parametrize("name", runner.names())
def test_nothing_is_lost_doubled_or_left_unsaid_under(name: str, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    result = runner.run_one(name, seed, Scale.SHORT, tmp_path / name)
    found = [finding for row in result.rows for finding in row.findings]
    assert not found, f"again: {result.again}\n" + "\n".join(found)
    assert result.rows, "a fault without a row proves nothing"
