"""What each peer is given to do, and what is measured of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.versus.accounting import cpu_us, resident_mb
from bench.versus.load import SMALL
from bench.versus.peers import ROOT, Running
from bench.versus.upstream import CAPTURES

Measured = dict[str, float]
"""Figures of one work in one round: ``us`` and ``us.<role>`` are microseconds of CPU per call."""


class WorkError(Exception):
    """The load did not go through; the message says how."""


@dataclass(frozen=True)
class Work:
    """One kind of load."""

    name: str
    about: str
    run: Callable[[Running, float], Measured]
    """Takes a peer and the scale: 1 for the full length."""
    rounds: int | None = None
    """Fewer rounds than the others have, where one takes long."""
    without: frozenset[str] = frozenset()
    """Peers that cannot be given it."""


def _load(*arguments: object) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.versus.load", *map(str, arguments)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise WorkError(ran.stderr[-1000:])
    said: dict[str, float] = json.loads(ran.stdout)
    if said["failed"]:
        raise WorkError(f"{said['failed']} calls failed")
    return said


def _wrk(port: int, calls: Path, connections: int, seconds: float) -> dict[str, float]:
    command = [
        "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s", "-s",
        str(ROOT / "bench" / "versus" / "calls.lua"), f"http://127.0.0.1:{port}",
    ]  # fmt: skip
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"BENCH_CALLS": str(calls)}
    )
    count = re.search(r"(\d+) requests in ([\d.]+)(m?s)", ran.stdout)
    if ran.returncode or count is None:
        raise WorkError(f"wrk: {ran.stdout[-500:]}{ran.stderr[-500:]}")
    if wrong := re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: .*", ran.stdout):
        raise WorkError(f"wrk: {wrong[0]}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", ran.stdout)
    assert rate is not None
    return {"calls": float(count[1]), "rps": float(rate[1])}


def _charged(peer: Running, load: Callable[[], dict[str, float]]) -> Measured:
    """Run a load, and say what each role of the peer used for each of its calls."""
    roles = peer.roles()
    before = [cpu_us(role.pids) for role in roles]
    said = load()
    resident = {role.name: resident_mb(role.pids) for role in roles}
    peer.settle()
    measured: Measured = dict(said)
    for role, began in zip(roles, before, strict=True):
        name = "us" if role.name == "all" else f"us.{role.name}"
        measured[name] = (cpu_us(role.pids) - began) / said["calls"]
        if role.name in {"all", "proxy"}:
            measured["mb" if role.name == "all" else "mb.proxy"] = resident[role.name]
    return measured


def _closed(calls: Path, connections: int, seconds: float) -> Callable[[Running, float], Measured]:
    def run(peer: Running, scale: float) -> Measured:
        return _charged(peer, lambda: _wrk(peer.port, calls, connections, seconds * scale))

    return run


def _streams(concurrent: int, total: int, chunk_ms: int) -> Callable[[Running, float], Measured]:
    def run(peer: Running, scale: float) -> Measured:
        count = max(concurrent, round(total * scale))
        return _charged(peer, lambda: _load("streams", peer.port, concurrent, count, chunk_ms))

    return run


def at_rate(port: int, per_second: float, seconds: float) -> Measured:
    """Latency at a fixed rate, an open loop."""
    return _load("rate", port, per_second, seconds)


def works(folder: Path) -> tuple[Work, ...]:
    """Give every work; what it sends is written below ``folder``."""
    small = _calls(folder, "small", {"": SMALL})
    return (
        Work("small", "a small chat call, 32 connections", _closed(small, 32, 3)),
        Work("stream", "a stream of 100 chunks, 10 ms apart, 64 at a time", _streams(64, 192, 10)),
        Work("100 KB", "a prompt of 100 KB, 8 connections", _closed(_prompt(folder, 100_000), 8, 1)),
        Work("5 MB", "a prompt of 5 MB, 4 connections", _closed(_prompt(folder, 5_000_000), 4, 1)),
        Work("mix", "calls recorded at a real vLLM, 16 connections", _closed(_mix(folder), 16, 1),
             without=frozenset({"litellm", "litellm s3"})),
        Work("1,000 streams", "a thousand open streams, 100 ms between chunks", _streams(1000, 1000, 100), rounds=2),
    )  # fmt: skip


def _calls(folder: Path, name: str, bodies: Mapping[str, bytes], path: str = "/v1/chat/completions") -> Path:
    """Write calls for ``calls.lua``: by the name of the recorded answer, or ``""`` for the small one."""
    lines = []
    for capture, body in bodies.items():
        file = folder / f"{name}-{capture or 'body'}"
        file.write_bytes(body)
        lines.append(f"{path}\t{capture}\t{file}\n")
    listed = folder / f"{name}.calls"
    listed.write_text("".join(lines))
    return listed


def _prompt(folder: Path, size: int) -> Path:
    text = ("The quick brown fox jumps over the lazy dog. " * (size // 45 + 1))[:size]
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    return _calls(folder, f"prompt-{size}", {"": body})


def _mix(folder: Path) -> Path:
    """Every recorded chat call that was answered with 200, streamed or not.

    LiteLLM is left out: it passes no header on, so the model server cannot know which answer was recorded for a call.
    """
    bodies = {}
    for file in sorted(CAPTURES.glob("chat-*stream*.req")):
        head, _, body = file.read_bytes().partition(b"\r\n\r\n")
        answer = file.with_suffix(".resp")
        if head.startswith(b"POST /v1/chat/completions ") and answer.read_bytes().startswith(b"HTTP/1.1 200"):
            bodies[file.stem] = body
    return _calls(folder, "mix", bodies)
