"""Several partitions read as one list, in descending order, within a budget of reads. Pure.

Each stream says how far down it was read (its *frontier*). An item may be given once nothing above it can still
come: once every stream that has nothing in hand was read to below it. So filters that leave long stretches empty,
and partitions of very different size, cost only the reads that are needed; and where the budget ends, the highest
frontier is the place where the list goes on without a gap.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from llm_audit.index.dynamodb_items import Row, item_of
from llm_audit.index.dynamodb_plans import Walk
from llm_audit.index.matching import comparable, holds
from llm_audit.index.schema import Item, keys


@dataclass(slots=True)
class Stream:
    """One partition, as far as it was read."""

    partition: str
    found: deque[tuple[str, Item]] = field(default_factory=deque)
    """What was read and not yet given, with its place in the merged order."""
    frontier: str | None = None
    """Everything above this place was read; None before the first read."""
    start: Row | None = None
    """Where DynamoDB goes on."""
    is_done: bool = False
    reads: int = 0

    @property
    def is_needy(self) -> bool:
        """True where only a read can tell what comes next."""
        return not self.found and not self.is_done


class Merge:
    """The streams of one walk. ``blocking`` says what must be read; ``take`` gives what is certain."""

    def __init__(self, walk: Walk, partitions: tuple[str, ...]) -> None:
        """Nothing is read yet."""
        self.walk = walk
        self.streams = [] if walk.is_empty else [Stream(partition) for partition in partitions]

    def blocking(self) -> list[Stream]:
        """Give the streams that must be read before anything further is certain; none at the end, too."""
        top = self._top()
        return [
            stream
            for stream in self.streams
            if stream.is_needy
            and (top is None or stream.frontier is None or stream.frontier > top.found[0][0])
        ]

    def take(self) -> Item | None:
        """Give the next item, if it is certain; None at the end, or while streams block."""
        top = self._top()
        if top is None or self.blocking():
            return None
        return top.found.popleft()[1]

    def feed(self, stream: Stream, answer: dict[str, Any]) -> None:
        """Take what DynamoDB answered for a stream."""
        stream.reads += 1
        stream.start = answer.get("LastEvaluatedKey")
        stream.is_done = stream.start is None
        if stream.start is not None:
            stream.frontier = stream.start[self.walk.order_key]["S"]
        for row in answer["Items"]:
            item = item_of(row)
            if item is not None and self._belongs(item):
                stream.found.append((keys(item)[self.walk.order_key], item))

    def resume_at(self) -> str | None:
        """Give the place after which a list that stops here goes on; None where nothing was read."""
        return max(
            (stream.frontier for stream in self.blocking() if stream.frontier is not None), default=None
        )

    def _top(self) -> Stream | None:
        """Give the stream whose next item is the highest."""
        return max(
            (stream for stream in self.streams if stream.found), key=lambda one: one.found[0][0], default=None
        )

    def _belongs(self, item: Item) -> bool:
        walk = self.walk
        if walk.high is not None and keys(item)[walk.sort] >= walk.high:
            return False
        values = comparable(item)
        return all(holds(condition, values) for condition in walk.conditions)
