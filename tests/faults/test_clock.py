"""The fast clock: whatever waits in a process that lives by it waits for its part of the time, and no less."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from faults.clock import FastClock, compiler

pytestmark = pytest.mark.skipif(compiler() is None, reason="no C compiler")
RATE = 50
PROGRAM = """
import asyncio, json, select, threading, time, uvloop

def uv():
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.sleep(5))

def condition():
    with (one := threading.Condition()):
        one.wait(5)

ways = {
    "sleep": lambda: time.sleep(5),
    "condition": condition,
    "event": lambda: threading.Event().wait(5),
    "lock": lambda: [lock := threading.Lock(), lock.acquire(), lock.acquire(timeout=5)],
    "select": lambda: select.select([], [], [], 5),
    "poll": lambda: select.poll().poll(5000),
    "asyncio": lambda: asyncio.run(asyncio.sleep(5)),
    "uvloop": uv,
}
found = {}
for name, wait in ways.items():
    ours, raw = time.clock_gettime(time.CLOCK_BOOTTIME), time.clock_gettime(time.CLOCK_MONOTONIC_RAW)
    fast, wall = time.monotonic(), time.time()
    wait()
    found[name] = (
        min(time.monotonic() - fast, time.clock_gettime(time.CLOCK_MONOTONIC_RAW) - raw),
        time.time() - wall,
        time.clock_gettime(time.CLOCK_BOOTTIME) - ours,
    )
print(json.dumps(found))
"""


def test_every_wait_takes_as_long_by_the_fast_clock_as_it_says_and_a_part_of_that_by_ours(tmp_path):
    clock = FastClock.make(tmp_path, RATE)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | clock.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert len(found) == 8
    for name, (fast, wall, ours) in found.items():
        assert min(fast, wall) >= 4.99, name
        assert ours < 5 <= ours * RATE + 0.01, name


def test_the_wall_clock_jumps_at_once_and_the_monotonic_one_never(tmp_path):
    clock = FastClock.make(tmp_path, rate=1)
    program = "import time\nwhile input(): print(time.time(), time.monotonic(), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | clock.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:

        def look():
            process.stdin.write("look\n")
            process.stdin.flush()
            wall, monotonic = map(float, process.stdout.readline().split())
            return wall - monotonic

        before = look()
        for seconds in (3600, -3600, 0):
            clock.jump_to(seconds)
            assert look() - before == pytest.approx(seconds, abs=60)
        process.stdin.write("\n")


def test_a_clock_without_a_beginning_is_refused(tmp_path):
    clock = FastClock.make(tmp_path)
    environ = os.environ | {"LD_PRELOAD": str(clock.library), "FAULTS_CLOCK": "fast"}
    done = subprocess.run(
        [sys.executable, "-c", ""], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 97
    assert "expected rate:monotonic:realtime" in done.stderr
