"""SIGKILL at random instants, under load, and a count that must match: ``python faults/kill.py --kills 200``.

Runs the whole system (``llm-audit serve`` with the demo model server launched by it), keeps clients calling it,
streamed and not, and kills proxy, shipper, model server and supervisor again and again. Each client writes down
what it received, byte by byte, on raw sockets: the ledger knows nothing of the product's code. At the end the
objects are compared with it, and with the promise: every response byte that a client received is in a record, no
call is there twice, no sequence has a gap, the chain of digests holds. Prints a table; exit code 1 on a finding.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

CHILDREN = 3
"""Model server, proxy, shipper."""

SHARES = {"proxy": 5, "shipper": 4, "supervisor": 1, "model": 1}
"""Of the kills. While the model server or the whole system starts there is little load, so these two come rarely."""

BODY = {
    "plain": b'{"model":"m","messages":[{"role":"user","content":"Count to 5"}]}',
    "stream": b'{"model":"m","messages":[{"role":"user","content":"Count to 40"}],"stream":true}',
}


@dataclass(slots=True)
class Call:
    """What one client saw of one call."""

    request_id: str
    kind: str
    status: int | None = None
    content: bytes = b""
    ended: bool = False
    """The message's framing said that it is over."""


@dataclass(slots=True)
class Ledger:
    """What all clients saw."""

    calls: list[Call] = field(default_factory=list)
    refused_connections: int = 0


async def make_call(port: int, ledger: Ledger, rng: random.Random) -> None:
    """Make one call on a connection of its own, and write down every byte of it."""
    kind = rng.choice(("plain", "stream"))
    call = Call(str(uuid.UUID(int=rng.getrandbits(128), version=4)), kind)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        ledger.refused_connections += 1
        await asyncio.sleep(0.05)
        return
    ledger.calls.append(call)
    try:
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            b"x-llm-source: faults\r\nx-llm-user: u\r\nx-llm-request-type: t\r\nx-request-id: %b\r\n"
            b"content-length: %d\r\n\r\n%b" % (call.request_id.encode(), len(BODY[kind]), BODY[kind])
        )
        await read_response(reader, call)
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.transport.abort()


async def read_response(reader: asyncio.StreamReader, call: Call) -> None:
    """Read by the framing, keeping what came even where it is cut."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    call.status = int(head[9:12])
    if b"transfer-encoding: chunked" not in head:
        left = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        while left:
            piece = await reader.read(left)
            if not piece:
                return
            call.content += piece
            left -= len(piece)
        call.ended = True
        return
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        left = size
        while left:
            piece = await reader.read(left)
            if not piece:
                return
            call.content += piece
            left -= len(piece)
        await reader.readexactly(2)
        if not size:
            call.ended = True
            return


class System:
    """``llm-audit serve``, started again whenever its supervisor is killed."""

    def __init__(self, folder: Path, durability: str) -> None:
        self.folder = folder
        self.durability = durability
        self.port = free_port()
        self.model_port = free_port()
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("AUDIT_")}
        environ |= {
            "AUDIT_DATA_DIR": str(self.folder / "data"),
            "AUDIT_LISTEN": f"127.0.0.1:{self.port}",
            "AUDIT_DURABILITY": self.durability,
            "AUDIT_DRAIN_TIMEOUT": "5s",
        }
        model = [
            sys.executable,
            "-m",
            "llm_audit.demo.server",
            "--pace-ms",
            "2",
            "--port",
            str(self.model_port),
        ]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "llm_audit", "serve", "--", *model],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def children(self) -> dict[str, int]:
        """Names and process ids of the running children."""
        try:
            status = json.loads((self.folder / "data/status/supervisor.json").read_bytes())
        except (OSError, ValueError):
            return {}
        if status.get("pid") != self.process.pid:
            return {}  # the last supervisor's
        found = {name: child.get("pid") for name, child in status.get("children", {}).items()}
        return {name: pid for name, pid in found.items() if pid}

    def kill(self, rng: random.Random) -> str | None:
        """Kill one process, once all are there; a killed supervisor is started again."""
        victims = self.children()
        if len(victims) < CHILDREN:
            return None
        victims["supervisor"] = self.process.pid
        name = rng.choices(sorted(victims), [SHARES[victim.split("-")[0]] for victim in sorted(victims)])[0]
        try:
            os.kill(victims[name], signal.SIGKILL)
        except ProcessLookupError:
            return None
        if name == "supervisor":
            self.process.wait()
            self.process = self._start()
        elif self.process.poll() is not None:
            raise SystemExit(f"the supervisor ended by itself: {(self.folder / 'log').read_text()[-2000:]}")
        return name.split("-")[0]

    def shipped(self) -> bool:
        """Tell whether the shipper says that nothing waits any more."""
        try:
            status = json.loads((self.folder / "data/status/shipper.json").read_bytes())
        except (OSError, ValueError):
            return False
        writers = status["writers"].values()
        running = status["pid"] == self.children().get("shipper")
        return running and not any(one["unshipped"] or one["openExchanges"] for one in writers)

    def stop(self) -> None:
        """Let the shipper finish, then drain."""
        end = time.monotonic() + 300
        while not self.shipped() and time.monotonic() < end:
            time.sleep(0.2)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def load(
    system: System, ledger: Ledger, kills: int, clients: int, rng: random.Random
) -> collections.Counter[str]:
    """Keep clients calling while processes are killed."""
    stop = asyncio.Event()

    async def client() -> None:
        while not stop.is_set():
            await make_call(system.port, ledger, rng)

    tasks = [asyncio.create_task(client()) for _ in range(clients)]
    killed: collections.Counter[str] = collections.Counter()
    while killed.total() < kills:
        await asyncio.sleep(rng.uniform(0.02, 0.6))
        name = await asyncio.to_thread(system.kill, rng)
        if name is not None:
            killed[name] += 1
    await asyncio.sleep(2.0)
    stop.set()
    await asyncio.gather(*tasks)
    return killed


def check(ledger: Ledger, objects: Path) -> dict[str, object]:
    """Compare the objects with the clients' ledger and with the promise."""
    records: dict[str, list[dict[str, object]]] = collections.defaultdict(list)
    places: dict[tuple[str, int, int], tuple[str | None, str]] = {}
    for path in objects.rglob("*.json"):
        data = path.read_bytes()
        record = json.loads(data)
        records[record["requestId"]].append(record)
        at = record["writer"]
        place = (at["id"], at["boot"], at["sequence"])
        digest = hashlib.sha256(data).hexdigest()
        assert place not in places, f"{place} is stored twice"
        places[place] = (at["previousSha256"], digest)
    findings = collections.Counter[str]()
    acknowledged = counted_only = 0
    for call in ledger.calls:
        found = records.get(call.request_id, [])
        if len(found) > 1:
            findings["recorded twice"] += 1
        if call.status is None:
            continue
        acknowledged += 1
        if not found and call.status == 503:
            counted_only += 1  # refusals beyond 100 a second are counted, see contracts
            continue
        if not found:
            findings["answered, not recorded"] += 1
            continue
        response = found[0]["response"]
        body = (response or {}).get("bodyText", "").encode() if isinstance(response, dict) else b""
        if not body.startswith(call.content):
            findings["received bytes that are not recorded"] += 1
        if call.ended and body != call.content:
            findings["a whole answer that is recorded otherwise"] += 1
    findings += gaps(places)
    tallies = [one[0]["error"] for one in records.values() if one[0]["request"]["path"] is None]
    counted = sum(int(error["message"].split(" ")[0].replace(",", "")) for error in tallies if error)
    outcomes = collections.Counter(str(record[0]["outcome"]) for record in records.values())
    return {
        "calls made": len(ledger.calls),
        "connections refused": ledger.refused_connections,
        "answered (at least a status)": acknowledged,
        "answered whole": sum(call.ended for call in ledger.calls),
        "records": len(places),
        "refused with 503, no own record": counted_only,
        "refusals in counting records": counted,
        "outcomes": dict(outcomes.most_common()),
        "findings": dict(findings),
    }


def gaps(places: dict[tuple[str, int, int], tuple[str | None, str]]) -> collections.Counter[str]:
    """Count missing sequences and broken links, over all boots of each writer."""
    findings = collections.Counter[str]()
    before: dict[str, tuple[int, int, str]] = {}
    for writer, boot, sequence in sorted(places):
        previous, digest = places[writer, boot, sequence]
        last = before.get(writer)
        if sequence and (last is None or last[:2] != (boot, sequence - 1)):
            findings["gap in a sequence"] += 1
        if (last[2] if last else None) != previous:
            findings["broken chain"] += 1
        before[writer] = (boot, sequence, digest)
    return findings


def main() -> int:
    """Run it and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--durability", choices=("host", "process"), default="process")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    ledger = Ledger()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        system = System(Path(folder), options.durability)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                killed = runner.run(load(system, ledger, options.kills, options.clients, rng))
            system.stop()
        finally:
            with contextlib.suppress(ProcessLookupError):
                system.process.kill()
        result = check(ledger, Path(folder) / "data/objects")
        journal_left = sum(1 for _ in (Path(folder) / "data/journal").glob("w-*/*.seg"))
        if result["findings"]:
            print((Path(folder) / "log").read_text()[-3000:], file=sys.stderr)
    print(f"seed {options.seed}, durability {options.durability}, kills {dict(killed.most_common())}")
    for name, value in {**result, "journal segments left": journal_left}.items():
        print(f"{name:32} {value}")
    return 1 if result["findings"] or journal_left else 0


if __name__ == "__main__":
    sys.exit(main())
