"""Refused calls at a rate, pipelined on many connections, every answer counted: ``python -m faults.flood JSON``.

In a process of its own, so that the good calls beside them share nothing with it. It sends no more than it was told to a
second, and less where the proxy takes less; at the end it waits for every answer that is due.
"""

from __future__ import annotations

import asyncio
import collections
import json
import random
import subprocess
import sys
import time
from functools import partial
from typing import cast

import uvloop

from faults.clients import SOURCE

TURN_S = 0.005
DEPTH = 32
"""Answers that are due on one connection at most."""

_CALLER = b"host: a\r\nx-llm-source: " + SOURCE.encode() + b"\r\nx-llm-request-type: t\r\n"
KINDS = {
    "404 unknown_path": b"POST /v1/nothing HTTP/1.1\r\n" + _CALLER + b"x-llm-user: u\r\ncontent-length: 2\r\n\r\n{}",
    "400 missing_header": b"POST /v1/chat/completions HTTP/1.1\r\n" + _CALLER + b"content-length: 2\r\n\r\n{}",
    "400 invalid_header": b"POST /v1/chat/completions HTTP/1.1\r\n" + _CALLER + b"x-llm-user: -\r\ncontent-length: 2\r\n\r\n{}",
    "405 method_not_allowed": b"GET /v1/chat/completions HTTP/1.1\r\n" + _CALLER + b"x-llm-user: u\r\n\r\n",
}  # fmt: skip
"""What is sent, by the status and the code of its refusal."""


class Flooding(asyncio.Protocol):
    """One connection that has one kind refused, again and again."""

    def __init__(self, kind: str) -> None:
        """Send nothing yet."""
        self.kind = kind
        self.sent = self.answered = 0
        self.lost = False
        self.over = False
        """Nothing more is sent."""
        self.done = asyncio.Event()
        """Nothing more is due after that."""
        self._mark = b'"code":"' + kind.split()[1].encode() + b'"'
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Count answers by the code in their bodies, one that came in two pieces too."""
        data = self._tail + data
        self.answered += data.count(self._mark)
        self._tail = data[1 - len(self._mark) :]
        self.look()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - as asyncio.Protocol
        """Take note that no more can be sent."""
        self.lost = True
        self.done.set()

    def look(self) -> None:
        """See whether all is over."""
        if self.over and self.answered >= self.sent:
            self.done.set()

    def send(self, count: int) -> int:
        """Send so many, or as many as may be due."""
        count = 0 if self.lost else min(count, DEPTH - self.sent + self.answered)
        if count > 0:
            self.transport.write(KINDS[self.kind] * count)
            self.sent += count
        return max(count, 0)


def _same(one: Flooding) -> Flooding:
    return one


async def flood(port: int, seconds: float, connections: int, rate: int, seed: int) -> dict[str, object]:
    """Send for so many seconds, wait for the last answers, and say what was sent and answered."""
    loop = asyncio.get_running_loop()
    kinds = list(KINDS)
    made = [Flooding(kinds[at % len(kinds)]) for at in range(connections)]
    for one in made:
        await loop.create_connection(partial(_same, one), "127.0.0.1", port)
    began = time.monotonic()
    sent = 0
    dice = random.Random(seed)
    while (passed := time.monotonic() - began) < seconds:
        due = int(passed * rate) - sent
        for one in dice.sample(made, len(made)):
            if due <= 0:
                break
            done = one.send(min(due, 8))
            sent += done
            due -= done
        await asyncio.sleep(TURN_S)
    for one in made:
        one.over = True
        one.look()
        await asyncio.wait_for(one.done.wait(), 60)
    took = time.monotonic() - began
    answers: collections.Counter[str] = collections.Counter()
    for one in made:
        answers[one.kind] += one.answered
        one.transport.abort()
    return {"sent": sent, "seconds": took, "answered": answers, "lost": sum(one.lost for one in made)}


def start(port: int, seconds: float, connections: int, rate: int, seed: int) -> subprocess.Popen[bytes]:
    """Start it; what it has to say comes on its standard output, as one JSON object."""
    told = json.dumps([port, seconds, connections, rate, seed])
    return subprocess.Popen([sys.executable, "-m", "faults.flood", told], stdout=subprocess.PIPE)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(flood(*json.loads(sys.argv[1])))))
