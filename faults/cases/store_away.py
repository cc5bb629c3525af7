"""The store away for an hour under load, in each of the ways in which it can be; then it returns.

The hour is one of a fast clock (``faults.clock``), by which every process of the system lives: its time-outs, back-offs
and intervals are the product's own. The store is an endpoint that speaks S3 (``faults.scripted_store``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from faults.clock import FastClock, compiler, stop_and_settle
from faults.load import Load
from faults.objects import compare, read_objects, row
from faults.processes import resident_bytes
from faults.row import Row, Stage
from faults.scripted_store import BUCKET, LATE_ANSWER, LOST_ANSWER, OK, SILENT, ScriptedStore, scripted_store
from faults.system import System, model_server

EXPIRED = "expired credentials"
WAYS: dict[str, str | int] = {
    "answers 500": 500,
    "answers 503 SlowDown": 503,
    "answers 403": 403,
    EXPIRED: OK,  # it works, for those who have the token that nobody hands out
    "half-open: takes connections, says nothing": SILENT,
    "time-out after success: stored, no answer": LATE_ANSWER,
    "reset after success: stored, cut": LOST_ANSWER,
}
JOURNAL = 8 << 20
MAY_GROW = 12 << 20
"""A process may hold so much more in the second half of the hour than at most in the first."""
TOKEN_S = 360.0
"""A client renews credentials five minutes before they expire: so it does after one of its minutes."""
OLD, RENEWED = "first", "second"
"""Session tokens."""


@dataclass(slots=True)
class Watched:
    """What was measured while the store was away."""

    memory: dict[str, list[int]] = field(default_factory=lambda: {"proxy-1": [], "shipper": []})
    journal: int = 0
    trouble: str = ""

    def look(self, system: System) -> None:
        """Measure once."""
        children = system.children()
        for name, sizes in self.memory.items():
            if name in children:
                sizes.append(resident_bytes(children[name]))
        self.journal = max(self.journal, system.journal_bytes())
        self.trouble = (system.status("shipper").get("storeError") or {}).get("message") or self.trouble

    def findings(self) -> Iterator[str]:
        """Say where memory or journal went beyond what is promised."""
        for name, sizes in self.memory.items():
            half = len(sizes) // 2
            if not half:
                yield f"{name} was not there"
            elif max(sizes[half:]) > max(sizes[:half]) + MAY_GROW:
                yield f"{name} grew from {_mib(max(sizes[:half]))} to {_mib(max(sizes[half:]))}"
        if self.journal > JOURNAL + (1 << 20):
            yield f"the journal held {_mib(self.journal)} of {_mib(JOURNAL)}"

    def note(self) -> str:
        """Say what was measured, in a few words."""
        memory = ", ".join(
            f"{name} {_mib(max(sizes[: len(sizes) // 2]))} in the first half and {_mib(max(sizes[len(sizes) // 2 :]))} in the second"
            for name, sizes in self.memory.items()
        )
        return f"at most held: {memory}, journal {_mib(self.journal)} of {_mib(JOURNAL)}"


def run(stage: Stage) -> Iterator[Row]:
    """Let the store be away in every way, an hour each; the short scale takes one of them, for three minutes."""
    if compiler() is None:
        yield Row("store away", skipped="a fast clock needs a C compiler: apt-get install gcc libc6-dev")
        return
    seconds = float(stage.choose(180, 3600))
    ways = list(WAYS) if stage.choose(0, 1) else [stage.rng.choice(list(WAYS))]
    with model_server() as upstream:
        for number, way in enumerate(ways):
            yield _away(stage, number, way, seconds, upstream)


def _away(stage: Stage, number: int, way: str, seconds: float, upstream: int) -> Row:
    folder = stage.folder / str(number)
    folder.mkdir(parents=True)
    clock = FastClock.make(folder)
    watched = Watched()
    with scripted_store() as store:
        settings = {
            "AUDIT_BUCKET": f"s3://{BUCKET}",
            "AUDIT_JOURNAL_MAX_BYTES": str(JOURNAL),
            "AUDIT_INDEX": "sqlite",
            "AUDIT_INDEX_WRITER": "shipper",
            # A minute of its own is a second of its clients'.
            "AUDIT_CLIENT_TIMEOUT": "10m",
            "AUDIT_DRAIN_TIMEOUT": "10m",
        }
        _hand_out(store, clock, OLD)
        environ = clock.environ | {"AWS_ENDPOINT_URL": store.endpoint, "AWS_REGION": "us-east-1"}
        system = System(
            folder, settings=settings, environ=environ | store.credentials(folder), upstream=upstream
        )
        with system:
            system.wait_until_ready()
            with Load(system.port, stage.rng, 8, pause_s=0.05) as load:
                load.wait_for_answers(30)
                system.wait_for(partial(_holds, store, 1), "nothing is stored")
                missed = _let_it_be_away(store, way, clock, seconds, system, watched)
                if not load.wait_for_answers(30, 60.0):
                    missed.append("calls are not served again when the store is back")
            stop_and_settle(system)
        objects = read_objects(store.write_down(folder / "objects"))
    refused = sum(call.status == 503 for call in load.ledger.calls)
    note = f"{seconds / 60:.0f} minutes; {refused:,} calls got 503; {watched.note()}; the shipper said: {watched.trouble or 'nothing'}"
    done = row(f"store {way}", load.ledger, objects, compare(load.ledger, objects), note)
    return replace(done, findings=(*done.findings, *missed, *watched.findings()))


def _let_it_be_away(
    store: ScriptedStore, way: str, clock: FastClock, seconds: float, system: System, watched: Watched
) -> list[str]:
    """Be away, watch, and return; gives what was not as promised."""
    missed = []
    mode = WAYS[way]
    if way == EXPIRED:
        _expire(store, clock)
    store.mode = mode
    end = time.monotonic() + clock.ours(seconds)
    time.sleep(0.5)  # for what the store was doing just then
    before = len(store.objects)
    while time.monotonic() < end:
        watched.look(system)
        time.sleep(0.1)
    stored = len(store.objects) - before
    if mode in {LATE_ANSWER, LOST_ANSWER}:  # the next try finds each stored, and is no trouble
        if not stored:
            missed.append("nothing was stored without an answer")
    elif stored:
        missed.append(f"{stored} objects were stored by a store that was away")
    elif not watched.trouble:
        missed.append("the shipper's status says nothing of it")
    _hand_out(store, clock, RENEWED)
    store.mode = OK
    store.released.set()
    return missed


def _hand_out(store: ScriptedStore, clock: FastClock, token: str) -> None:
    """Hand this session token out; whoever asks again gets it for some minutes more."""
    store.handed_out = lambda: (token, clock.wall_s() + TOKEN_S)


def _expire(store: ScriptedStore, clock: FastClock) -> None:
    """Take another token only, and hand out the old one, which has expired by what it says itself."""
    store.token = RENEWED
    until = clock.wall_s()
    store.handed_out = lambda: (OLD, until)


def _holds(store: ScriptedStore, count: int) -> bool:
    return len(store.objects) >= count


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
