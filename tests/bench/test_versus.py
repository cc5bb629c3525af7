"""The regression guard: the proxy's CPU per call, as a ratio to a bare proxy's in the same run.

The limits are far from what is measured (small calls 2, streams 1.2 times the bare proxy), so that no machine's mood
fails them; a data path that has become twice as costly does.
"""

from __future__ import annotations

import statistics
from contextlib import contextmanager

import psutil
import pytest
import uvloop

import proxy_process
from bench.versus.accounting import cpu_us, tree
from bench.versus.load import OpenLoop, run_streams
from bench.versus.rounds import served

ROUNDS = 3


@contextmanager
def both(folder):
    """Run the model server, a bare proxy and ours; gives a port and a process id of each of the two."""
    with (
        served("upstream") as (upstream, _),
        served("bare_proxy", upstream) as bare,
        proxy_process.worker(folder / "w-00000001", upstream) as (ours, port),
    ):
        yield bare, (port, ours.process.pid)


def ratio_of(load, proxies) -> float:
    """Charge both with the same load in turn; the median of some rounds, ours to the bare one's."""

    def charged(port: int, pid: int) -> float:
        pids = tree(pid)
        before = cpu_us(pids)
        said = uvloop.run(load(port))
        assert said["failed"] == 0
        return (cpu_us(pids) - before) / said["calls"]

    bare, ours = proxies
    for proxy in proxies:
        charged(*proxy)  # warm
    return statistics.median(charged(*ours) / charged(*bare) for _ in range(ROUNDS))


@pytest.mark.skipif(not psutil.LINUX, reason="the kernel's books of threads are Linux's")
def test_a_small_call_costs_a_few_times_a_bare_proxys(tmp_path):
    with both(tmp_path) as proxies:
        ratio = ratio_of(lambda port: OpenLoop(1000, 0.5).run(port), proxies)

    assert ratio < 6


@pytest.mark.skipif(not psutil.LINUX, reason="the kernel's books of threads are Linux's")
def test_a_stream_costs_little_more_than_a_bare_proxys(tmp_path):
    with both(tmp_path) as proxies:
        ratio = ratio_of(lambda port: run_streams(port, 64, 64, 5), proxies)

    assert ratio < 4
