"""Honest traffic under everything that may go wrong: writers and shipper killed, stores that fail, clocks that jump, ids used twice.

Writers and shipper are processes of their own, which die by SIGKILL at random moments. What lies in the store at the end must
verify without a finding.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from llm_audit.integrity.signatures import PrivateKey, new_private_key

WRITER = """
import random, sys, time, uuid
from pathlib import Path
from journal_traffic import begin_call, end_call, open_writer

folder, name, seed, wanted = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
luck = random.Random(seed)
jump = luck.choice([0, 0, -7200, 3600, 90_000]) * 10**9
now = time.time_ns
time.time_ns = lambda: now() + jump
writer = open_writer(folder / "journal", writer=name, limit=1 << 30)
same = [uuid.UUID(int=number + 1, version=4) for number in range(20)]
open_calls = []
for number in range(wanted):
    open_calls.append(begin_call(writer, f"call {number}", request_id=luck.choice([*[None] * 30, *same])))
    if len(open_calls) > luck.randrange(8):
        end_call(open_calls.pop(luck.randrange(len(open_calls))))
    if number % 100 == 99:
        print(number + 1, flush=True)
        if sys.stdin.readline() != "go\\n":
            break
for one in open_calls:
    end_call(one)
writer.close()
print("done", flush=True)
"""

SHIPPER = """
import asyncio, random, signal, sys, time
from pathlib import Path
from llm_audit.integrity.signatures import read_private_key
from llm_audit.ship.digests import DigestConfig
from llm_audit.ship.shipper import Shipper
from llm_audit.store.folder import FolderStore
from llm_audit.store.objects import StoreUnavailableError
from ship_running import ship_config

folder, seed, is_last = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "last"
luck = random.Random(seed)
jump = luck.choice([0, 0, 0, -10_000, 5_000]) * 10**9
now = time.time_ns
time.time_ns = lambda: now() + jump

class Flaky(FolderStore):
    def put_new(self, key, data):
        dice = luck.random()
        if dice < 0.005:
            raise StoreUnavailableError("away")
        put = super().put_new(key, data)
        if dice > 0.995:
            raise StoreUnavailableError("no answer, though it is stored")
        return put

key = read_private_key((folder / "key.pem").read_bytes())
digests = DigestConfig(0.3, lambda: key.sign, "test", most_entries=int(sys.argv[4]), look_every_s=0.02)
config = ship_config(folder, threads=8, poll_s=0.01, digests=digests, drain_s=600.0)

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    if is_last:
        stop.set()
    await Shipper(config, Flaky(folder / "objects"), None).run(stop)

asyncio.run(main())
"""


@dataclass
class Honest:
    """A folder with honest records."""

    folder: Path
    key: PrivateKey
    deaths: int = 0

    @property
    def objects(self) -> Path:
        return self.folder / "objects"

    @property
    def keys(self) -> Path:
        return self.folder / "public"


def run(folder: Path, records: int, *, writers: int = 2, seed: int = 1, most_entries: int = 1000) -> Honest:
    """Make at least so many records."""
    luck = random.Random(seed)
    honest = Honest(folder, new_private_key())
    (folder / "key.pem").write_bytes(honest.key.pem())
    honest.keys.mkdir()
    (honest.keys / "key.pem").write_text(honest.key.public.pem)
    made = 0
    shipper = _shipper(honest, luck, most_entries)
    while made < records:
        for number in range(writers):
            made += _writer_life(honest, luck, f"w-0000000{number}", min(records // 8, 10_000))
            if not honest.deaths or luck.random() < 0.6:
                time.sleep(luck.random() * 0.3)  # the moment of death is chance
                shipper.kill() if luck.random() < 0.8 else shipper.terminate()
                shipper.wait()
                honest.deaths += 1
                shipper = _shipper(honest, luck, most_entries)
    shipper.kill()
    shipper.wait()
    last = _shipper(honest, luck, most_entries, "last")
    assert last.wait() == 0
    return honest


def _shipper(honest: Honest, luck: random.Random, most_entries: int, how: str = "on") -> subprocess.Popen:
    arguments = [str(honest.folder), str(luck.randrange(10**6)), how, str(most_entries)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if how == "on" and luck.random() < 0.3:
        point = luck.choice(["digest-made", "digest-kept", "digest-put", "after-put", "after-ledger"])
        environ["LLM_AUDIT_CRASH_AT"] = f"{point}:{luck.randrange(1, 6)}"
    return subprocess.Popen([sys.executable, "-c", SHIPPER, *arguments], env=environ)


def _writer_life(honest: Honest, luck: random.Random, name: str, wanted: int) -> int:
    """Let a writer make calls, and let it die somewhere; give how many it had made for certain."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [str(honest.folder), name, str(luck.randrange(10**6)), str(wanted)]
    deadly = luck.randrange(1, max(2, wanted // 100)) if luck.random() < 0.6 else None
    made = 0
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, *arguments],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        for lines, line in enumerate(writer.stdout, start=1):
            if line == "done\n":
                return wanted
            made = int(line)
            if lines == deadly:
                writer.kill()
                honest.deaths += 1
                break
            writer.stdin.write("go\n")
            writer.stdin.flush()
        writer.wait()
    return made
