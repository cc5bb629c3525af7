"""One writer's exchanges on their way: what is stored, what is out, and with which digest the chain goes on.

Everything up to the *mark* is stored. Beyond it, records are put in any order; each one that is not stored yet
remembers the place before it, so that the mark can follow when the oldest one is stored.

**Caution.** A record's bytes hold the digest of the record before. A former life of the shipper may have stored
records that the ledger does not know, and, if it was another version, in other words. So after a start the first
``CAUTION`` unknown exchanges go one at a time, each linked to what really lies in the store; past that, nothing of
the former life can be out there, since it never had more records out than ``WINDOW_RECORDS``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from llm_audit.journal.model import EndedExchange
from llm_audit.ship.ledger import Mark, Place

WINDOW_RECORDS = 128
"""Records that may be out at a time, all writers together: built, and not yet in the ledger."""

CAUTION = 128
"""At least ``WINDOW_RECORDS`` of this version and of every version that may have shipped before."""


@dataclass(slots=True)
class Entry:
    """An exchange that is not stored yet, and the mark that would be right if it were the oldest such."""

    ended: EndedExchange
    before: Mark | None
    refusals: int = 0
    """How often the store refused this record for its own sake."""
    ended_at_ms: int = 0
    """When the exchange ended, once its record is built."""

    @property
    def place(self) -> Place:
        """Boot and sequence."""
        return self.ended.opening.boot, self.ended.sequence

    @property
    def previous_sha256(self) -> str | None:
        """Digest of the record before, for the chain."""
        return None if self.before is None else self.before.sha256


class Line:
    """One writer's exchanges, in order."""

    def __init__(self, mark: Mark | None, beyond: dict[Place, str]) -> None:
        """Begin at what the ledger says: the mark, and the digests of what is stored past it."""
        self._stored_mark = mark
        self._last = mark
        self._beyond = beyond
        self._open: dict[Place, Entry] = {}
        self._caution = CAUTION
        self._unread: deque[EndedExchange] = deque()

    @property
    def out(self) -> int:
        """How many exchanges are taken and not stored."""
        return len(self._open)

    @property
    def needs_reading(self) -> bool:
        """Whether all that was read has been taken."""
        return not self._unread

    def add(self, read: Iterable[EndedExchange]) -> None:
        """Queue what the reader gave, in its order."""
        self._unread.extend(read)

    def next(self) -> Entry | EndedExchange | None:
        """Give the next exchange: an ``Entry`` to build and put, or an exchange that is stored already.

        None where there is none, or where caution says to wait for the one that is out.
        """
        while self._unread:
            ended = self._unread[0]
            place = (ended.opening.boot, ended.sequence)
            if self._stored_mark is not None and place <= self._stored_mark.place:
                return self._unread.popleft()
            known = self._beyond.pop(place, None)
            if known is not None:
                self._last = Mark(place, known)
                return self._unread.popleft()
            if self._caution and any(not entry.refusals for entry in self._open.values()):
                return None
            entry = self._open[place] = Entry(self._unread.popleft(), self._last)
            return entry
        return None

    def linked(self, entry: Entry, sha256: str) -> None:
        """Say which digest the entry's record was built with: the chain goes on from there."""
        self._last = Mark(entry.place, sha256)

    def stored(self, place: Place, sha256: str, built_sha256: str) -> bool:
        """Say that an entry's record lies in the store with this digest; give whether the chain is whole.

        It is not where a later record was already built on another digest than the one that lies there.
        """
        del self._open[place]
        self._caution = max(0, self._caution - 1)
        if sha256 == built_sha256:
            return True
        is_last = self._last is not None and self._last.place == place
        if is_last:
            self._last = Mark(place, sha256)
        return is_last

    @property
    def mark(self) -> Mark | None:
        """The place up to which everything is stored."""
        oldest = next(iter(self._open.values()), None)
        return self._last if oldest is None else oldest.before
