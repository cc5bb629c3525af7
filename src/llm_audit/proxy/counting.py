"""Counts calls that get no record of their own, with a journal writer and without one."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path

from llm_audit.journal.counted import CountedCalls, Reason


class Counting:
    """Counts in the file of the worker's journal directory; in memory as long as no disk gives such a file."""

    def __init__(self, writer_dir: Path) -> None:
        self._directory = writer_dir
        self._counts: CountedCalls | None = None
        self._waiting: Counter[tuple[Reason, str]] = Counter()
        """Calls that are in no file yet, and a sample of each reason."""

    def use(self, counts: CountedCalls) -> None:
        """Go on in the file as this boot has opened it."""
        if self._counts is not None and self._counts is not counts:
            self._counts.close()
        self._counts = counts
        for (reason, sample), calls in self._waiting.items():
            for _ in range(calls):
                counts.count(reason, sample)
        self._waiting.clear()

    def count(self, reason: Reason, sample: str = "") -> None:
        """Count one call; ``sample`` says who and why."""
        if self._counts is None:
            with contextlib.suppress(OSError):  # a full disk may not give the file: then it is kept here
                self.use(CountedCalls(self._directory))
        if self._counts is None:
            self._waiting[reason, sample if len(self._waiting) < 1000 else ""] += 1
        else:
            self._counts.count(reason, sample)
