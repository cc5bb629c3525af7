"""The index in DynamoDB. It answers what its three indexes can, within a budget of reads, and says where it stopped.

What a page costs is bounded: ``READ_BUDGET`` items are looked at, then the page is ``partial`` and its cursor goes on
there. Reads of the indexes are eventually consistent; nothing else is offered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from llm_audit.index.activity import Activity, activity_of_items
from llm_audit.index.dynamodb_following import Following
from llm_audit.index.dynamodb_items import MARKER_ID, Row, item_of, status_partitions
from llm_audit.index.dynamodb_merge import Merge, Stream
from llm_audit.index.dynamodb_plans import Walk, query_arguments, walk_of
from llm_audit.index.dynamodb_table import Table
from llm_audit.index.dynamodb_writer import DynamoWriter
from llm_audit.index.index import Arrivals, Page
from llm_audit.index.schema import Item, keys, source_partition, status_partition
from llm_audit.index.selection import (
    Comparison,
    Cursor,
    Order,
    Selection,
    cursor_after,
    cursor_text,
    parse_cursor,
)
from llm_audit.index.tallies import Grouping, Tallies, tally_items

READ_BUDGET = 10_000
"""Items that one page, or one count, looks at: some 5,000 read units and a second or two."""

READERS = 16
"""Partitions read at once."""

FIRST_READ = 64
"""Items of each partition first asked for where several are merged; a partition that is asked again gives twice as
many. Most of what a merge reads too much is its first read."""

LARGEST_READ = 1000
"""Items asked for at once; DynamoDB gives 1 MB at most in any case."""

REMEMBERED_SECONDS = 10.0
"""For how long a reader remembers which statuses there are calls of, and what it sorted for the page before."""

POLL_SECONDS = 2.0

_COUNTED = (
    *("id", "createdAt", "userIdPk", "userIdSk", "statusPk", "statusSk", "latencyPk", "latencySk"),
    *(
        "requestId",
        "requestType",
        "outcome",
        "statusCode",
        "model",
        "stream",
        "latencyMs",
        "timeToFirstChunkMs",
    ),
    *("inputTokens", "outputTokens", "totalTokens", "operation"),
)
"""What counting needs: everything but the texts."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What a walk found. ``resume_at`` is where it goes on, if the budget ended it."""

    items: list[Item]
    resume_at: str | None = None


class DynamoIndex:
    """An ``Index`` in one DynamoDB table. May be used from several threads."""

    def __init__(self, table: Table, *, budget: int | None = None) -> None:
        """Nothing is asked of the table yet; ``budget`` is how many items a page looks at (``READ_BUDGET``)."""
        self.table = table
        self._budget = budget or READ_BUDGET
        self._writer = DynamoWriter(table)
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="dynamodb")
        self._following = Following()
        self._occupied: tuple[float, tuple[str, ...]] = (0.0, ())
        self._sorted: tuple[float, Walk | None, _Read] = (0.0, None, _Read([]))

    def put(self, items: Sequence[Item]) -> None:
        """Write a batch; see ``DynamoWriter``: after an error, some of it may be written."""
        self._writer.put(items)

    def query(self, selection: Selection, cursor: str | None = None, limit: int = 50) -> Page:
        """Give a page; see ``IndexReader``. It may hold less than ``limit``, and be partial, with a cursor."""
        if limit < 1:
            raise ValueError(f"limit is {limit}, expected at least 1")
        walk = walk_of(selection, cursor)
        if not walk.is_in_order:
            return self._sorted_page(walk, cursor, limit)
        read = self._read(walk, limit + 1)
        items = tuple(read.items[:limit])
        if len(read.items) > limit:
            return Page(items, cursor_after(items[-1], selection.order))
        if read.resume_at is None:
            return Page(items)
        return Page(items, cursor_text(_place(read.resume_at, selection.order)), partial=True)

    def _sorted_page(self, walk: Walk, cursor: str | None, limit: int) -> Page:
        kept_until, kept, read = self._sorted
        if cursor is None or kept != walk or time.monotonic() >= kept_until:
            read = self._read(walk)
            self._sorted = (time.monotonic() + REMEMBERED_SECONDS, walk, read)
        before = None if cursor is None else parse_cursor(cursor, Order.SLOWEST).position("latencySk")
        found = sorted(read.items, key=lambda item: keys(item)["latencySk"], reverse=True)
        left = [item for item in found if before is None or keys(item)["latencySk"] < before]
        items = tuple(left[:limit])
        more = cursor_after(items[-1], Order.SLOWEST) if len(left) > limit else None
        return Page(items, more, partial=read.resume_at is not None)

    def get(self, request_id: str) -> None:
        """Give None: no index of the table is sorted by request id; see ``IndexReader``."""

    def item_at(self, source: str | None, started_at: str, stem: str) -> Item | None:
        """Give the item of one object, as it is now."""
        row = self.table.get(
            {"id": {"S": source_partition(source)}, "createdAt": {"S": f"{started_at}#{stem}"}}
        )
        return None if row is None else item_of(row)

    @property
    def poll_seconds(self) -> float:
        """Seconds between two looks at what arrived; each reads some hundred items."""
        return POLL_SECONDS

    def arrivals(self, position: str | None = None, limit: int = 500) -> Arrivals:
        """Give what came since; see ``Following`` for what a table without order of arrival can tell."""
        return self._following.arrivals(self._newest, position, limit)

    def _newest(self, since: str | None, limit: int) -> list[Item]:
        return self._read(walk_of(Selection(since=since)), limit).items

    def tallies(self, selection: Selection, by: Grouping) -> Tallies:
        """Count the newest calls, as many as the budget lets it look at; ``partial`` where there are more."""
        read = self._counted(selection)
        return Tallies(tally_items(read.items, by), partial=read.resume_at is not None)

    def activity(self, selection: Selection, slot_characters: int) -> Activity:
        """Count the newest calls over time, as many as the budget lets it look at; see ``tallies``."""
        read = self._counted(selection)
        return activity_of_items(read.items, slot_characters, partial=read.resume_at is not None)

    def _counted(self, selection: Selection) -> _Read:
        walk = walk_of(replace(selection, order=Order.NEWEST))
        needs_text = any(condition.comparison is Comparison.CONTAINS for condition in walk.conditions)
        return self._read(walk, names=() if needs_text else _COUNTED)

    def items(self, since: str | None = None, until: str | None = None) -> Iterator[Item]:
        """Give every item of a range of time; see ``IndexReader``.

        With a bound it reads the status index, so that an hour costs an hour's items. Without any it reads the
        whole table, consistently, and so also a row in a partition that no marker announces.
        """
        if since is None and until is None:
            rows = self._scan()
        else:
            walk = walk_of(Selection(since=since, until=until))
            rows = self._range(walk)
        for row in rows:
            item = item_of(row)
            if item is not None and (until is None or keys(item)["createdAt"] < until):
                yield item

    def _scan(self) -> Iterator[Row]:
        start: Row | None = None
        while True:
            more = {} if start is None else {"ExclusiveStartKey": start}
            answer = self.table.scan(ConsistentRead=True, **more)
            yield from answer["Items"]
            start = answer.get("LastEvaluatedKey")
            if start is None:
                return

    def _range(self, walk: Walk) -> Iterator[Row]:
        for partition in () if walk.is_empty else status_partitions(self._markers()):
            start: Row | None = None
            while True:
                answer = self.table.query(**query_arguments(walk, partition, start, LARGEST_READ))
                yield from answer["Items"]
                start = answer.get("LastEvaluatedKey")
                if start is None:
                    break

    def close(self) -> None:
        """Close threads and connections; may be called twice."""
        self._pool.shutdown()
        self.table.close()

    def _read(self, walk: Walk, wanted: int | None = None, names: Sequence[str] = ()) -> _Read:
        """Walk until ``wanted`` items are found, or all, or the budget is used up."""
        merge = Merge(walk, self._partitions(walk))
        found: list[Item] = []
        left = self._budget
        while wanted is None or len(found) < wanted:
            item = merge.take()
            if item is not None:
                found.append(item)
                continue
            blocking = merge.blocking()
            if not blocking:
                break
            if left <= 0:
                return _Read(found, merge.resume_at())
            first = _size(walk, wanted, len(found), blocking)
            left -= self._feed(merge, blocking, first, max(1, left // len(blocking)), names)
        return _Read(found)

    def _feed(self, merge: Merge, streams: list[Stream], first: int, most: int, names: Sequence[str]) -> int:
        """Read on in some streams at once; gives how many items DynamoDB looked at."""
        questions = [
            query_arguments(
                merge.walk,
                stream.partition,
                stream.start,
                min(first << stream.reads, LARGEST_READ, most),
                names,
            )
            for stream in streams
        ]
        answers = list(self._pool.map(lambda question: self.table.query(**question), questions))
        for stream, answer in zip(streams, answers, strict=True):
            merge.feed(stream, answer)
        return max(1, sum(int(answer["ScannedCount"]) for answer in answers))

    def _partitions(self, walk: Walk) -> tuple[str, ...]:
        if walk.partition != "statusPk":
            assert walk.value is not None
            return (walk.value,)
        if walk.value is not None:
            return status_partitions(self._markers(), walk.value.removeprefix(status_partition("")))
        until, partitions = self._occupied
        if time.monotonic() >= until or not partitions:
            partitions = self._find_occupied()
            self._occupied = (time.monotonic() + REMEMBERED_SECONDS, partitions)
        return partitions

    def _find_occupied(self) -> tuple[str, ...]:
        """Give the partitions of the status index that hold anything, of all that may."""

        def is_occupied(partition: str) -> bool:
            walk = Walk("statusPk", partition, "statusSk", None, None, ())
            return bool(self.table.query(**query_arguments(walk, partition, None, 1, ("statusPk",)))["Items"])

        candidates = status_partitions(self._markers())
        answers = list(self._pool.map(is_occupied, candidates))
        return tuple(one for one, is_there in zip(candidates, answers, strict=True) if is_there)

    def _markers(self) -> list[str]:
        """Give the table's markers, as they are now."""
        answer = self.table.query(
            KeyConditionExpression="#p = :p",
            ExpressionAttributeNames={"#p": "id"},
            ExpressionAttributeValues={":p": {"S": MARKER_ID}},
            ConsistentRead=True,
        )
        return [row["createdAt"]["S"] for row in answer["Items"]]


def _size(walk: Walk, wanted: int | None, found: int, blocking: Sequence[Stream]) -> int:
    """Choose how many items to ask of each stream first."""
    if wanted is None or walk.conditions:
        return LARGEST_READ
    return min(wanted - found, FIRST_READ if len(blocking) > 1 else LARGEST_READ)


def _place(resume_at: str, order: Order) -> Cursor:
    """Give the cursor of a place in the merged order: ``createdAt``, or ``latencySk`` where slowest come first."""
    if order is Order.NEWEST:
        started_at, _, stem = resume_at.partition("#")
        return Cursor(order, started_at, stem, 0)
    _, latency, started_at, stem = resume_at.split("#", 3)
    return Cursor(order, started_at, stem, int(latency))
