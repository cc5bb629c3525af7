"""``reconcile``: each way in which a call can be missing or different, really made, and named."""

from __future__ import annotations

import pytest

from reconciled import System

WRITER = "w-0000000a"


@pytest.fixture
def system(tmp_path):
    one = System(tmp_path)
    one.write(WRITER, 6)
    one.ship()
    return one


def test_a_sound_system_is_clean_and_counted(system):
    for how in ((), ("--deep",)):
        said = system.reconcile(*how)
        assert (said.exit_code, said.findings) == (0, [])
        assert said.counts() == (6, 6, 6, 0, 0)
