"""The rounds: every work through every peer in turn, again and again, so that a slow minute hits all alike."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.versus.peers import PEERS, ROOT, PeerError, Running, Stage, free_port, running
from bench.versus.works import Measured, Work, WorkError, at_rate, works

Results = dict[str, dict[str, list[Measured]]]
"""By work, then by peer: one entry a round. ``latency`` is a work too, its peer ``direct`` the model server alone."""

RATE_S = 2.0
HALF = 0.5
"""Latency is measured at this part of our own saturation."""


def measure(folder: Path, *, rounds: int, scale: float, peers: Sequence[str], only: Sequence[str]) -> Results:
    """Start everything, do the rounds, end everything. A peer that is not there is said and left out."""
    results: Results = {}
    with ExitStack() as stack:
        upstream, s3 = (stack.enter_context(served(name))[0] for name in ("upstream", "s3_endpoint"))
        stage = Stage(folder, upstream, s3)
        there = list(_started(stack, stage, peers))
        loads = [work for work in works(folder) if not only or work.name in only]
        for number in range(rounds):
            for work in loads:
                if work.rounds is None or number < work.rounds:
                    _round(results, work, there, scale, f"{number + 1}/{rounds}")
            if not only or "latency" in only:
                _latency(results, there, stage.upstream, scale)
    return results


def _started(stack: ExitStack, stage: Stage, names: Sequence[str]) -> Iterator[Running]:
    for peer in PEERS:
        if names and peer.name not in names:
            continue
        try:
            yield stack.enter_context(running(peer, stage))
        except PeerError as error:
            print(f"left out: {error}", file=sys.stderr)


def _round(results: Results, work: Work, peers: Sequence[Running], scale: float, number: str) -> None:
    for peer in peers:
        name = peer.peer.name
        if name in work.without:
            continue
        try:
            measured = work.run(peer, scale)
        except WorkError as error:
            print(f"{number} {work.name}, {name}: {error}", file=sys.stderr)
            continue
        results.setdefault(work.name, {}).setdefault(name, []).append(measured)
        parts = " ".join(
            f"{key}={value:.1f}" for key, value in measured.items() if key.startswith(("us", "rps"))
        )
        print(f"{number} {work.name}, {name}: {parts}", file=sys.stderr, flush=True)


def _latency(results: Results, peers: Sequence[Running], upstream: int, scale: float) -> None:
    ours = results.get("small", {}).get("llm-audit process")
    rate = ours[-1]["rps"] * HALF if ours else 1000.0
    direct = results.setdefault("latency", {})
    for name, port in (("direct", upstream), *((peer.peer.name, peer.port) for peer in peers)):
        small = results.get("small", {}).get(name)
        if small and small[-1]["rps"] < rate * 1.1:
            continue  # it cannot take so many: its latency would be that of its queue
        try:
            measured = at_rate_of(port, rate, scale)
        except WorkError as error:
            print(f"latency, {name}: {error}", file=sys.stderr)
            continue
        direct.setdefault(name, []).append(measured | {"rate": rate})


def at_rate_of(port: int, rate: float, scale: float) -> Measured:
    """Latency of whatever serves on a port."""
    return at_rate(port, rate, max(0.5, RATE_S * scale))


@contextmanager
def served(module: str, *arguments: int) -> Iterator[tuple[int, int]]:
    """Run one of our own servers as a process; gives its port and its process id."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", f"bench.versus.{module}", str(port), *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        if not process.stdout.readline().startswith(b"listening"):
            raise PeerError(f"bench.versus.{module} does not start")
        yield port, process.pid
    finally:
        process.kill()
        process.communicate()
