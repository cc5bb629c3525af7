"""What the kernel says of a running process."""

from __future__ import annotations

from pathlib import Path


def resident_bytes(pid: int) -> int:
    """Give the memory that a process holds (``VmRSS``), mapped files included; 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024 if "VmRSS:" in status else 0
