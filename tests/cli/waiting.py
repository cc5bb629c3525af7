"""Waiting for a fact about other processes, with a limit that only a failing test reaches."""

import contextlib
import json
import os
import time
from pathlib import Path


def eventually(fact, *, within=30.0, every=0.01):
    """Give what ``fact`` gives once it is true; an AssertionError where it never becomes so. Times are in seconds."""
    deadline = time.monotonic() + within
    while True:
        value = fact()
        if value:
            return value
        assert time.monotonic() < deadline, f"never came true: {fact}"
        time.sleep(every)


def read_status(path):
    """Give a status file's content, or None while there is none."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def is_alive(pid):
    """Tell whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill_quietly(pid, number):
    """Send a signal to a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
