"""Fixtures of the console's tests."""

import pytest

from calls import record
from console_kit import Stage
from recorded import Recorded


@pytest.fixture
def recorded(tmp_path):
    """A data folder with three calls."""
    found = Recorded(tmp_path)
    found.keep([record(number) for number in (1, 2, 3)])
    return found


@pytest.fixture
def stage(recorded):
    """A console on this machine, over three calls."""
    return Stage(recorded)
