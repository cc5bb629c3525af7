"""Prometheus' own checker of rules: Debian's, unpacked by `make promtool`, or the one on PATH."""

import shutil
import subprocess
from pathlib import Path

import pytest

_UNPACKED = Path(__file__).parents[2] / ".venv" / "prometheus" / "usr" / "bin" / "promtool"


def promtool(*arguments, folder):
    """Run promtool; give its exit code and what it says. Skips the test where there is none."""
    program = str(_UNPACKED) if _UNPACKED.exists() else shutil.which("promtool")
    if program is None:
        pytest.skip("there is no promtool here: `make promtool` unpacks Debian's where apt works")
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
