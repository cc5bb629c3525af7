"""The product's own commands, run beside a system with its settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from faults.system import System


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    code: int
    said: str
    error: str

    def lines(self) -> list[dict[str, Any]]:
        """Read what it said as JSON lines."""
        return [json.loads(line) for line in self.said.splitlines()]


def llm_audit(system: System, *arguments: str) -> Done:
    """Run ``llm-audit`` with these arguments to its end, with the settings and AWS variables of a system."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AUDIT_", "AWS_"))}
    aws = {name: value for name, value in system.environ.items() if name.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-m", "llm_audit", *arguments],
        env=kept | aws | system.settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
