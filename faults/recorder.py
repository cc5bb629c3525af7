"""A proxy process whose disk is recorded: what each file held at its last completed sync.

``python -m faults.recorder RECORDED JSON`` runs one proxy worker, with ``os.fsync`` and ``os.fdatasync`` of its process
wrapped: what is synced is copied *before* the real call, and counts as durable only once that has returned. So what
arrives in between is never taken for durable. A synced folder makes its names durable. Nothing else is changed.

``Disk`` reads what was recorded and makes images of what a power cut would leave.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PAGE = 4096
_HOST_BOOT = "the boot before the cut"


class _Recorder:
    def __init__(self, recorded: Path) -> None:
        self._recorded = recorded

    def wrap(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def sync(fd: int) -> None:
            found = os.fstat(fd)
            half_made = self._recorded / f"tmp-{threading.get_ident()}"
            if stat.S_ISDIR(found.st_mode):
                folder = Path(f"/proc/self/fd/{fd}").readlink()
                names = {entry.name: entry.inode() for entry in os.scandir(folder)}
                half_made.write_text(json.dumps(names))
                done = self._recorded / f"names-{folder.name}"
            else:
                shutil.copyfile(f"/proc/self/fd/{fd}", half_made)
                done = self._recorded / f"inode-{found.st_ino}"
            real(fd)
            half_made.rename(done)

        return sync


def main() -> int:
    """Run the worker until its standard input ends."""
    recorded, told = Path(sys.argv[1]), json.loads(sys.argv[2])
    recorder = _Recorder(recorded)
    for name in ("fsync", "fdatasync"):
        setattr(os, name, recorder.wrap(getattr(os, name)))
    # Only now: the journal takes fdatasync as it is when it is imported.
    from llm_audit.journal import writer  # noqa: PLC0415
    from llm_audit.journal.model import Durability  # noqa: PLC0415
    from llm_audit.proxy.config import ProxyConfig  # noqa: PLC0415
    from llm_audit.proxy.worker import run  # noqa: PLC0415

    setattr(writer, "host_boot", lambda: _HOST_BOOT)  # noqa: B010 - for mypy, the module does not offer it
    config = ProxyConfig(
        writer_dir=Path(told["writer"]),
        usage_dir=recorded,
        upstream_host="127.0.0.1",
        upstream_port=told["upstream"],
        durability=Durability[told["durability"].upper()],
        journal_limit_bytes=told["limit"],
        drain_timeout=1.0,
    )
    return run(config, socket.socket(fileno=told["listener"]), sys.stdin.fileno())


@dataclass(slots=True)
class RecordedProxy:
    """One such process, and its disk."""

    folder: Path
    upstream: int
    durability: str
    limit: int = 32 << 20

    def __post_init__(self) -> None:
        """Make the folders and the listening socket."""
        self.writer.mkdir(parents=True)
        self.recorded.mkdir()

    @property
    def writer(self) -> Path:
        """The writer's folder."""
        return self.folder / "journal" / "w-00000001"

    @property
    def recorded(self) -> Path:
        """What is durable of it."""
        return self.folder / "recorded"

    def start(self) -> tuple[subprocess.Popen[bytes], int]:
        """Start it; gives the process, which ends when its standard input is closed, and its port."""
        with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
            listener.setblocking(False)
            told = {
                "writer": str(self.writer),
                "upstream": self.upstream,
                "durability": self.durability,
                "limit": self.limit,
                "listener": listener.fileno(),
            }
            process = subprocess.Popen(
                [sys.executable, "-m", "faults.recorder", str(self.recorded), json.dumps(told)],
                stdin=subprocess.PIPE,
                pass_fds=(listener.fileno(),),
                cwd=Path(__file__).parent.parent,
            )
            return process, listener.getsockname()[1]

    def cut(self, to: Path, rng: random.Random) -> None:
        """Write what a power cut would leave now: durable pages, and of the later ones any subset, in any order.

        Whoever compares takes down what clients have *before* this is called: what is durable by then is here.
        """
        to.mkdir(parents=True)
        durable = self._durable_names()
        now = {entry.name: entry.inode() for entry in os.scandir(self.writer)}
        for name in durable.keys() | now.keys():
            same = durable.get(name) == now.get(name)
            # Of a name that changed since its folder was synced, either state may be on the disk.
            inode = durable.get(name) if same or rng.random() < 0.5 else now.get(name)
            if inode is not None:
                (to / name).write_bytes(
                    self._content(name, inode, is_current=inode == now.get(name), rng=rng)
                )

    def _durable_names(self) -> dict[str, int]:
        path = self.recorded / f"names-{self.writer.name}"
        return json.loads(path.read_text()) if path.exists() else {}

    def _content(self, name: str, inode: int, *, is_current: bool, rng: random.Random) -> bytes:
        try:
            before = (self.recorded / f"inode-{inode}").read_bytes()
        except FileNotFoundError:
            before = b""
        try:
            later = (self.writer / name).read_bytes() if is_current else before
        except FileNotFoundError:  # it was removed just now
            later = before
        share = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        size = max(len(before), len(later))
        sources = (before.ljust(size, b"\0"), later.ljust(size, b"\0"))
        return b"".join(sources[rng.random() < share][at : at + PAGE] for at in range(0, size, PAGE))


if __name__ == "__main__":
    sys.exit(main())
