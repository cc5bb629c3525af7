from __future__ import annotations

import subprocess
import sys

import pytest

from llm_audit.ship.lock import ShipLock, ShipLockedError

HOLDER = (
    "import sys; from pathlib import Path\n"
    "from llm_audit.ship.lock import ShipLock\n"
    "lock = ShipLock(Path(sys.argv[1]))\n"
    "print('held', flush=True)\n"
    "sys.stdin.read()\n"
)


def test_a_second_shipper_is_refused_until_the_first_is_gone_however_it_went(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"

        with pytest.raises(ShipLockedError, match=str(tmp_path)):
            ShipLock(tmp_path)
        holder.kill()

    ShipLock(tmp_path).release()


def test_a_released_lock_can_be_taken_again(tmp_path):
    ShipLock(tmp_path).release()
    ShipLock(tmp_path).release()
