"""Signals as readable bytes: for processes that wait in one ``select`` for signals and for file descriptors."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What asks a process to end; a terminal that closes (SIGHUP) does, too."""


@contextmanager
def signals_as_bytes(*wanted: signal.Signals) -> Iterator[int]:
    """Catch signals for a while; give the descriptor from which their numbers can be read, a byte each.

    Main thread only. A signal may be lost only if the same is already waiting there (the pipe never fills).
    """
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    caught = [number for number in wanted if not _stays_ignored(number)]
    before = {number: signal.signal(number, _caught) for number in caught}
    previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(previous)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _stays_ignored(number: signal.Signals) -> bool:
    """Tell whether ``nohup`` started us: then a terminal that closes means nothing."""
    return number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN


def read_signals(descriptor: int) -> list[int]:
    """Give the signals that came since the last time."""
    try:
        return list(os.read(descriptor, 4096))
    except BlockingIOError:
        return []


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block what asks a process to end, for a while; children that start meanwhile inherit that (``unblock``)."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock() -> None:
    """Take signals from now on, those first that came while they were blocked."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def _caught(number: int, frame: FrameType | None) -> None:
    """Do nothing here: the interpreter has written the number to the pipe."""
