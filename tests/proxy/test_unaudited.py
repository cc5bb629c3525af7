"""Calls that passed without a record, counted."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

from llm_audit.proxy.unaudited import Unaudited, UnauditedCounter


def test_a_new_page_counts_nothing(tmp_path: Path) -> None:
    assert UnauditedCounter(tmp_path).read() == Unaudited(0, 0, 0)


def test_what_is_counted_between_reading_and_recording_stays_counted(tmp_path: Path) -> None:
    counter = UnauditedCounter(tmp_path)
    counter.count()
    taken = counter.read()
    counter.count()
    counter.recorded(taken)
    assert counter.read().calls == 1
    assert counter.read().last_wall_ms >= taken.last_wall_ms
    counter.recorded(counter.read())
    assert counter.read() == Unaudited(0, 0, 0)


def _count_and_die(directory: Path) -> None:
    UnauditedCounter(directory).count()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_count_survives_the_death_of_its_process(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_count_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert UnauditedCounter(tmp_path).read().calls == 1
