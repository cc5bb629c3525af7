"""A client that takes a byte a second for an hour while others pour through: it must not pin the journal.

The hour is one of a fast clock (``faults.clock``), by which every process of the system and the slow client live. Many
times the journal's limit pours through small segments while the slow call stays open, and the journal must stay far
below its limit all the time.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from faults.clients import Call, new_id, parse_response, request
from faults.clock import FastClock, compiler, stop_and_settle
from faults.load import Load
from faults.objects import compare, read_objects, row
from faults.row import Row, Stage
from faults.system import System, model_server

LIMIT = 32 << 20
PACE_MS = 0.4
LONGEST_S = 9000.0
"""A machine that is busy otherwise may need more than the hour until three times the journal's limit has poured."""
LONG = b'{"model":"m","messages":[{"role":"user","content":"Count to %d"}],"stream":true}'
"""Some 6 to 12 MB: more than all socket buffers on the way hold."""
SETTINGS = {
    "AUDIT_JOURNAL_MAX_BYTES": str(LIMIT),
    # At a byte a second the kernel opens its window once in many minutes: to the proxy the client takes nothing meanwhile.
    "AUDIT_CLIENT_TIMEOUT": "2h",
    "AUDIT_MAX_DURATION": "3h",
    "AUDIT_DRAIN_TIMEOUT": "10m",
}
POURING = b'{"model":"m","messages":[{"role":"user","content":"Count to 1000"}],"stream":true}'
"""200 kB answered."""


def run(stage: Stage) -> Iterator[Row]:
    """Keep one call open at a byte a second, and measure the journal meanwhile."""
    if compiler() is None:
        yield Row("a client takes a byte a second", skipped="a fast clock needs a C compiler")
        return
    seconds = float(stage.choose(120, 3600))
    missed = []
    stage.folder.mkdir(exist_ok=True)
    clock = FastClock.make(stage.folder)
    with (
        model_server(PACE_MS) as upstream,
        System(stage.folder, settings=SETTINGS, environ=clock.environ, upstream=upstream) as system,
    ):
        system.wait_until_ready()
        slow = Call(new_id(stage.rng), LONG % stage.choose(20_000, 60_000))
        over = threading.Event()
        taken: list[bytes] = []
        taking = threading.Thread(target=_take_slowly, args=(system.port, slow, over, taken, clock.ours(1.0)))
        taking.start()
        highest = 0
        with Load(system.port, stage.rng, 3, bodies=(POURING,)) as load:
            began = time.monotonic()
            while (passed := time.monotonic() - began) < clock.ours(seconds) or (
                _poured(load) < stage.choose(0, 3 * LIMIT) and passed < clock.ours(LONGEST_S)
            ):
                highest = max(highest, system.journal_bytes())
                time.sleep(0.1)
        poured = _poured(load)
        refused = sum(call.status == 503 for call in load.ledger.calls)
        end = time.monotonic() + 60.0
        while (rest := system.journal_bytes()) > LIMIT // 2 and time.monotonic() < end:
            time.sleep(0.1)
        if rest > LIMIT // 2:
            missed.append(f"the slow call alone keeps {rest / 2**20:.1f} MiB of the journal")
        slowly = len(taken)
        over.set()
        taking.join()
        parse_response(slow, b"".join(taken))
        load.ledger.calls.append(slow)
        stop_and_settle(system)
        objects = read_objects(system.objects)
    if not slow.ended:
        missed.append("the slow client did not get its whole answer")
    note = (
        f"{passed * clock.rate / 60:.0f} minutes of the system's clock at a byte a second, {slowly:,} bytes; {poured / 2**20:.0f} MiB poured through a journal of {LIMIT >> 20} MiB, which "
        f"held {highest / 2**20:.1f} MiB at most and {rest / 2**20:.1f} MiB with the slow call alone; {refused} calls got 503"
    )
    done = row("a client takes a byte a second", load.ledger, objects, compare(load.ledger, objects), note)
    yield replace(done, findings=(*done.findings, *missed))


def _poured(load: Load) -> int:
    return sum(len(call.sent) + len(call.content) for call in load.ledger.calls if call.ended)


def _take_slowly(port: int, call: Call, over: threading.Event, taken: list[bytes], second: float) -> None:
    """Take a byte a second until ``over``, then the rest."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", port))
        sock.sendall(request(call, fields=b"connection: close\r\n"))
        due = time.monotonic() + second
        while not over.wait(max(0.0, due - time.monotonic())):
            taken.append(sock.recv(1))
            due += second
        sock.settimeout(60.0)
        with suppress(ConnectionResetError):  # then it did not get its whole answer, and that shows
            while piece := sock.recv(1 << 16):
                taken.append(piece)
