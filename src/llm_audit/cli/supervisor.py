"""The supervisor's shell: starts, watches, restarts and ends child processes as ``supervision`` decides.

One thread, one ``select``: signals (as bytes of a pipe), the children's log pipes, and the next due time. Invariants:

- A child never outlives the supervisor unnoticed: it holds the read end of a pipe (see ``child_process``).
- The listening socket is bound once, here, and shared: while a worker restarts, the kernel queues the connections
  and the next worker accepts them. It is closed before the workers are asked to drain, so that new calls are refused
  by the kernel rather than left waiting.
- The status file says who runs, as whom, and where; it is replaced atomically at each change.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from llm_audit.cli.child_process import ChildProcess, Program
from llm_audit.cli.signals import STOPS, read_signals, signals_as_bytes
from llm_audit.cli.supervision import Effect, Leave, Say, Send, Start, Supervision

STATUS_RETRY_S = 1.0
"""Between two tries to write the status file, where the disk did not take it."""


def say(line: str) -> None:
    """Write one line of log. A terminal that has gone away stops nothing."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        pass


class Supervisor:
    """Runs programs until it is asked to stop; ``run`` gives the exit code."""

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        listener: socket.socket | None,
        status_path: Path,
        facts: Mapping[str, Any],
        write: Callable[[str], None] = say,
    ) -> None:
        """``facts`` go into the status file as they are."""
        self._programs = {program.child.name: program for program in programs}
        self._supervision = Supervision([program.child for program in programs])
        self._listener = listener
        self._status_path = status_path
        self._facts = dict(facts)
        self._write = write
        self._children: dict[str, ChildProcess] = {}
        self._selector = selectors.DefaultSelector()
        self._code: int | None = None
        self._status_is_stale = False
        """The status file could not be written when it changed last."""

    def run(self) -> int:
        """Start everything and stay until it has ended again. Main thread only."""
        with self._selector, signals_as_bytes(signal.SIGCHLD, *STOPS) as signals:
            self._selector.register(signals, selectors.EVENT_READ)
            self._act(self._supervision.start(time.monotonic()))
            while self._code is None:
                self._wait(signals)
        self._status_path.unlink(missing_ok=True)
        return self._code

    def _wait(self, signals: int) -> None:
        """Wait for whatever comes next, and react."""
        due = self._supervision.next_due()
        timeout = None if due is None else max(0.0, due - time.monotonic())
        if self._status_is_stale:
            timeout = STATUS_RETRY_S if timeout is None else min(timeout, STATUS_RETRY_S)
        for key, _ in self._selector.select(timeout):
            if isinstance(key.data, ChildProcess) and not key.data.read_log(self._write):
                self._forget_log(key.data)
        for number in read_signals(signals):
            if number in STOPS:
                self._stop()
        for pid in _ended_children():
            self._ended(pid)
        self._act(self._supervision.tick(time.monotonic()))
        if self._status_is_stale:
            self._write_status()

    def _stop(self) -> None:
        if not self._supervision.is_stopping:
            self._write(
                "llm-audit: stopping: calls in flight finish, then what is there is stored (again: quicker)"
            )
        self._close_listener()
        self._act(self._supervision.stop(time.monotonic()))

    def _close_listener(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _act(self, effects: Iterable[Effect]) -> None:
        """Carry out effects, and those that follow from them."""
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            match effect:
                case Start(name):
                    waiting.extend(self._start(name))
                case Send(name, number):
                    if name in self._children:  # not where it could not be started
                        self._children[name].send(number)
                case Say(text):
                    self._write(f"llm-audit: {text}")
                case Leave(code):
                    self._code = code
            if isinstance(effect, Start):
                self._write_status()

    def _start(self, name: str) -> list[Effect]:
        try:
            child = ChildProcess(self._programs[name])
        except OSError as error:
            self._write(f"llm-audit: cannot start {name}: {error.strerror}: {self._programs[name].argv[0]}")
            return self._supervision.ended(name, 127, time.monotonic())
        self._children[name] = child
        self._selector.register(child.log, selectors.EVENT_READ, child)
        return []

    def _ended(self, pid: int) -> None:
        child = next((child for child in self._children.values() if child.pid == pid), None)
        if child is None:
            os.waitpid(
                pid, 0
            )  # an orphan that came to us, as it does where we are a container's first process
            return
        code = child.reap()
        del self._children[child.name]
        if child.log in self._selector.get_map():
            child.read_log(self._write)
            self._forget_log(child)
        effects = self._supervision.ended(child.name, code, time.monotonic())
        if self._supervision.is_stopping:
            self._close_listener()
        self._write_status()
        self._act(effects)

    def _forget_log(self, child: ChildProcess) -> None:
        self._selector.unregister(child.log)
        child.close_log()

    def _write_status(self) -> None:
        lives = self._supervision.lives
        children = {
            name: {"pid": child.pid, "restarts": lives[name].restarts}
            for name, child in self._children.items()
        }
        status = {"pid": os.getpid(), **self._facts, "children": children}
        try:
            replace_file(self._status_path, orjson.dumps(status) + b"\n")
        except OSError as error:  # a full disk must not end the supervision
            if not self._status_is_stale:
                self._write(f"llm-audit: cannot write {self._status_path}: {error.strerror}")
            self._status_is_stale = True
        else:
            self._status_is_stale = False


def replace_file(path: Path, data: bytes) -> None:
    """Put a file in place whole: a reader sees the old one or the new one. Mode 0600."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)


def _ended_children() -> Iterable[int]:
    """Give the ids of children that have ended, each still unreaped."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None:
            return
        yield found.si_pid
