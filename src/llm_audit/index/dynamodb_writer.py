"""Writing items into DynamoDB. Standard library and boto3 only: this is what runs inside Lambda.

**Condition of every write: none.** A row is a function of its object alone, and an object is never overwritten;
so whichever event comes, once, twice, late or in another order, the row at the end is the same. A condition would
only make the same object's second event an error. (What ``reindex`` deletes has a condition, see there.)
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from llm_audit.index.dynamodb_items import marker_row, markers_of, row_of
from llm_audit.index.dynamodb_table import Table
from llm_audit.index.schema import Item

WRITERS = 8
"""Requests at once for a batch: DynamoDB answers after some milliseconds, of which most are waiting."""


class DynamoWriter:
    """An ``ItemWriter`` for one table; needs ``dynamodb:PutItem`` and nothing else."""

    def __init__(self, table: Table) -> None:
        """Nothing is asked of the table yet."""
        self._table = table
        self._announced: set[str] = set()

    def put(self, items: Sequence[Item]) -> None:
        """Write items; returns when all are durable. Raises IndexUnavailableError.

        After an error some may be written: to write them again changes nothing.
        """
        self.announce(items)
        if len(items) == 1:
            self._table.put(row_of(items[0]))
        elif items:
            with ThreadPoolExecutor(WRITERS, thread_name_prefix="dynamodb") as pool:
                for _ in pool.map(self._table.put, map(row_of, items)):
                    pass

    def announce(self, items: Sequence[Item]) -> None:
        """Put the markers that must be there before these items are; each once, mostly none."""
        needed = {marker for item in items for marker in markers_of(item)} - self._announced
        for marker in sorted(needed):
            self._table.put(marker_row(marker))
            self._announced.add(marker)
