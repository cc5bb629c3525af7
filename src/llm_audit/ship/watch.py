"""Who is told of stored records, such as metrics: a note of each while it is at hand, all notes once they are in the ledger.

Told once for each record that this shipper stores or finds stored, in the shipper's own thread, so a watch is to be
quick. One that fails is left out from then on: nothing of it may keep records from being stored.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

from llm_audit.record.schema import Record
from llm_audit.ship.build import Note
from llm_audit.ship.writers import describe

_LOG = logging.getLogger(__name__)


class Watch(Protocol):
    """Whoever wants to know."""

    def note(self, record: Record) -> object:
        """Give what to remember of a record until it is stored; small, for bodies must not stay in memory."""

    def stored(self, notes: Sequence[Any]) -> None:
        """See the notes of records that are stored now."""


class Watched:
    """Keeps the notes for a watch; without one it costs nothing."""

    def __init__(self, watch: Watch | None) -> None:
        self._watch = watch
        self._notes: list[object] = []

    @property
    def note(self) -> Note | None:
        """What ``build`` is to be given."""
        return None if self._watch is None else self._note

    def add(self, note: object) -> None:
        """Keep the note of a record that lies in the store, and is not in the ledger yet."""
        if note is not None:
            self._notes.append(note)

    def tell(self) -> None:
        """Say that all of them are in the ledger."""
        notes, self._notes = self._notes, []
        if self._watch is None or not notes:
            return
        try:
            self._watch.stored(notes)
        except Exception as error:  # noqa: BLE001 - whatever it is, storing goes on
            self._failed(error)

    def _note(self, record: Record) -> object:
        if self._watch is None:
            return None
        try:
            return self._watch.note(record)
        except Exception as error:  # noqa: BLE001 - whatever it is, storing goes on
            self._failed(error)
            return None

    def _failed(self, error: Exception) -> None:
        _LOG.error("what watches the shipper is left out until the next start: %s", describe(error))
        self._watch = None
