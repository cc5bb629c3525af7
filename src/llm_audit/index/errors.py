"""What can go wrong with an index. Standard library only (it runs inside Lambda)."""

from __future__ import annotations


class IndexUnavailableError(Exception):
    """The index could not be read or written now; the message says what came and what to do."""


class IndexMissingError(IndexUnavailableError):
    """There is no index at that place."""


class IndexDamagedError(IndexUnavailableError):
    """What is there is no index, or its file is damaged, or of a format we don't know."""
