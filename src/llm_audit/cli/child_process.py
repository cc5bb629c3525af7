"""One child process of the supervisor: started with a pipe that tells it when the supervisor is gone.

The child's standard input is the read end of a pipe whose only write end the supervisor holds: when the supervisor
ends, however it ends, the child reads the end of file. Each child leads a session of its own, so that Ctrl-C on the
terminal reaches the supervisor alone, and so that everything a child started can be ended by its process group.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field

from llm_audit.cli.signals import signals_blocked
from llm_audit.cli.supervision import Child

_LONGEST_LINE = 16 * 1024
"""Bytes of one log line; a longer one is cut into several."""


@dataclass(frozen=True, slots=True)
class Program:
    """How a child is run. ``environment`` is all that it gets; what it prints is passed on, line by line.

    ``owns_its_output``: its standard output is ours as it is (what a person reads, or CloudWatch parses), not its log.
    ``unblocks_signals``: it starts with signals blocked and unblocks them once it handles them, so that one that is
    asked to stop while it still starts does what it should do at its end.
    """

    child: Child
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    descriptors: tuple[int, ...] = ()
    umask: int = 0o077
    owns_its_output: bool = False
    unblocks_signals: bool = False


class ChildProcess:
    """A running child: its process, its pipe, its log."""

    def __init__(self, program: Program) -> None:
        """Start it; raises OSError where it cannot be started."""
        self.name = program.child.name
        reader, self._lifeline = os.pipe2(os.O_CLOEXEC)
        self.log, log_writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.log, False)
        self._rest = b""
        try:
            with signals_blocked() if program.unblocks_signals else nullcontext():
                self._process = subprocess.Popen(
                    program.argv,
                    stdin=reader,
                    stdout=None if program.owns_its_output else log_writer,
                    stderr=log_writer,
                    pass_fds=program.descriptors,
                    env=dict(program.environment),
                    umask=program.umask,
                    start_new_session=True,
                )
        except OSError:
            os.close(self._lifeline)
            os.close(self.log)
            raise
        finally:
            os.close(reader)
            os.close(log_writer)

    @property
    def pid(self) -> int:
        """Its process id, which is its process group's, too."""
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process; SIGKILL to its whole group. The process must not have been reaped yet."""
        if number == signal.SIGKILL:
            os.killpg(self.pid, number)
        else:
            os.kill(self.pid, number)

    def reap(self) -> int:
        """Collect an ended child; give its exit code, or minus the number of the signal that ended it.

        What is left of its group is killed before, while the dead leader still keeps the group's number from
        being given to others: a model server's own children must not go on holding the GPU and the port.
        """
        with suppress(ProcessLookupError, PermissionError):  # nothing left but the dead leader itself
            os.killpg(self.pid, signal.SIGKILL)
        code = self._process.wait()
        os.close(self._lifeline)
        return code

    def read_log(self, write: Callable[[str], None]) -> bool:
        """Pass on the whole lines that have come; False once nothing more will come."""
        while True:
            try:
                data = os.read(self.log, 65536)
            except BlockingIOError:
                return True
            *lines, self._rest = (self._rest + data).split(b"\n")
            if not data or len(self._rest) > _LONGEST_LINE:
                lines, self._rest = [*lines, *([self._rest] if self._rest else [])], b""
            for line in lines:
                for start in range(0, max(len(line), 1), _LONGEST_LINE):
                    write(f"{self.name} | {line[start : start + _LONGEST_LINE].decode('utf-8', 'replace')}")
            if not data:
                return False

    def close_log(self) -> None:
        """Stop reading what it says."""
        os.close(self.log)
