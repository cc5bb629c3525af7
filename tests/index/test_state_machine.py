"""Any order of objects, notifications and rebuildings: the index says of each object what a plain model says.

Objects appear and vanish; what tells of them comes once, twice, late, in any order or not at all; a batch fails, a process
dies while it writes, a rebuilding is killed and gone on with while others write, the index is lost. After each step the
index holds what the model holds; each access pattern gives that in order, page by page, and it is counted rightly. A
rebuilding that came to its end leaves what the objects say, and nothing else.
"""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import llm_audit.ingest.reindex as reindex_module
from calls import key_of, mixed_records
from llm_audit.index.dynamodb import DynamoIndex
from llm_audit.index.dynamodb_rebuild import DynamoRebuild
from llm_audit.index.dynamodb_table import Table
from llm_audit.index.schema import Item, keys
from llm_audit.index.selection import Order, Selection
from llm_audit.index.sqlite import SqliteIndex, set_aside
from llm_audit.index.sqlite_rebuild import Rebuild
from llm_audit.index.sqlite_schema import row_of, upsert_statement
from llm_audit.index.tallies import Grouping, tally_items
from llm_audit.ingest.ingest import Notification, ObjectGoneError, ingest
from llm_audit.ingest.reindex import reindex
from llm_audit.record.encoding import encode_record

DOCUMENTS = {key_of(one): encode_record(one) for one in mixed_records(24, random.Random(3))}
"""Every object that there can be. It is put once, never changed, and may be deleted."""
SOME = st.lists(st.sampled_from(range(len(DOCUMENTS))), min_size=1, max_size=6).map(
    lambda numbers: [sorted(DOCUMENTS)[number] for number in numbers]
)
LARGE_STEPS = settings(max_examples=40, stateful_step_count=30, suppress_health_check=list(HealthCheck))
SMALL_STEPS = settings(
    max_examples=2,
    stateful_step_count=8,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # to shorten a story takes hundreds of tables
)

pytestmark = pytest.mark.timeout(600)  # many stories in one test, on whatever machine there is

Row = tuple[str, str]
"""What makes a row one: partition and sort key."""


class KilledError(Exception):
    """The process that rebuilds is killed here."""


def row(item: Item) -> Row:
    return keys(item)["id"], keys(item)["createdAt"]


def _items() -> dict[str, Item]:
    found: list[Item] = []

    class Kept:
        def put(self, items: Sequence[Item]) -> None:
            found.extend(items)

    ingest([Notification("audit", key) for key in DOCUMENTS], lambda one: [DOCUMENTS[one.key]], Kept())
    return {item.audit_object_key: item for item in found}


ITEMS = _items()


class SqliteMachine(RuleBasedStateMachine):
    """The objects, the embedded index, and a model of both."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="machine-", dir=memory if memory.is_dir() else None))
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(reindex_module, "WRITE_BATCH", 3)
        self.patch.setattr(logging.getLogger("llm_audit.ingest"), "disabled", True)
        self.objects: dict[str, bytes] = {}
        self.ever: set[str] = set()
        self.unreadable: set[str] = set()
        self.model: dict[Row, Item] = {}
        self.since_it_began: set[Row] | None = None
        """Of a rebuilding under way: the rows that it has written."""
        self.at_its_begin: set[Row] = set()
        self.index: Any = self.opened()

    # --- which index ---------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        return self.folder / "audit.sqlite3"

    def opened(self) -> Any:
        return SqliteIndex(self.path)

    def rebuilding(self) -> Any:
        return Rebuild(self.index, "audit/logs")

    def undone(self) -> Iterable[Row]:
        """Give the rows that a rebuilding removes at its end."""
        return [
            one
            for one in self.at_its_begin & self.model.keys()
            if one not in self.since_it_began and self.model[one].audit_object_key not in self.unreadable
        ]

    # --- objects and what tells of them --------------------------------------------------------------------

    @rule(some=SOME, are_told=st.booleans(), twice=st.booleans())
    def objects_appear(self, *, some: list[str], are_told: bool, twice: bool) -> None:
        new = [key for key in dict.fromkeys(some) if key not in self.ever]
        self.ever.update(new)
        self.objects |= {key: DOCUMENTS[key] for key in new}
        if are_told:
            self.told(new * (1 + twice))

    @rule(some=SOME)
    def told(self, some: list[str]) -> None:
        """Whatever they say: in any order, twice, late, of what is gone."""
        result = ingest([Notification("audit", key) for key in some], self.open, self.index, batch_size=4)
        there = [key for key in some if key in self.objects and key not in self.unreadable]
        assert (result.written, result.errors) == (
            len(there),
            sum(key in self.unreadable and key in self.objects for key in some),
        )
        self.put_into_the_model(ITEMS[key] for key in there)

    def open(self, notification: Notification) -> list[bytes]:
        if notification.key not in self.objects:
            raise ObjectGoneError(notification.key)
        if notification.key in self.unreadable:
            raise OSError("it cannot be read now")
        return [self.objects[notification.key]]

    def put_into_the_model(self, items: Iterable[Item]) -> None:
        self.model |= {row(item): item for item in items}

    @rule(some=SOME)
    def objects_vanish(self, some: list[str]) -> None:
        """While a rebuilding is under way, none that cannot be read: whether it had been looked at, it alone knows."""
        for key in some:
            if self.since_it_began is None:
                self.unreadable.discard(key)
            if key not in self.unreadable:
                self.objects.pop(key, None)

    @precondition(lambda self: self.since_it_began is None)
    @rule(some=SOME)
    def some_become_unreadable(self, some: list[str]) -> None:
        self.unreadable = set(some) & self.objects.keys()

    @precondition(lambda self: self.since_it_began is None)
    @rule()
    def all_become_readable(self) -> None:
        self.unreadable = set()

    @rule(pick=st.integers(0, 100))
    def somebody_forges_a_row(self, pick: int) -> None:
        if not self.model:
            return
        item = list(self.model.values())[pick % len(self.model)]
        item = replace(item, stem=f"{item.stem[:36]}~forged", source="somebody-else", latency_ms=1)
        self.index.put([item])
        self.put_into_the_model([item])

    # --- what goes wrong -----------------------------------------------------------------------------------

    @rule(some=SOME)
    def a_batch_fails(self, some: list[str]) -> None:
        """Wholly: of those before the one that cannot be written, nothing is there either."""
        good = [ITEMS[key] for key in some]
        with pytest.raises(UnicodeEncodeError):
            self.index.put([*good, replace(good[0], prompt_preview="\ud800")])

    @rule(some=SOME)
    def the_process_dies_while_it_writes(self, some: list[str]) -> None:
        connection = self.index._current()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(upsert_statement(), [row_of(ITEMS[key]) for key in some])
        connection.close()
        self.index = self.opened()

    @rule()
    def it_is_opened_again(self) -> None:
        self.index.close()
        self.index = self.opened()

    @rule(is_open=st.booleans())
    def the_index_is_lost(self, *, is_open: bool) -> None:
        if not is_open:
            self.index.close()
        set_aside(self.path)
        if not is_open:
            self.index = self.opened()
        self.model, self.since_it_began = {}, None

    # --- rebuilding ----------------------------------------------------------------------------------------

    @rule(killed_after=st.integers(0, 12))
    def rebuild(self, killed_after: int) -> None:
        """Begin, or go on with what was killed; be killed again after so many objects, or come to the end."""
        if self.since_it_began is None:
            self.since_it_began, self.at_its_begin = set(), set(self.model)
        rebuilding = self.rebuilding()
        done_before, after = (
            sum(rebuilding.progress[1:3]) + len(rebuilding.progress[3]),
            rebuilding.progress[0],
        )

        def on_progress(seen: int) -> None:
            if seen - done_before >= killed_after > 0:
                raise KilledError

        listed: list[str] = []

        def list_after(key: str) -> list[Notification]:
            assert key == after
            listed.extend(one for one in sorted(self.objects) if one > key)
            return [Notification("audit", one) for one in listed]

        try:
            reindex(list_after, self.open, rebuilding, on_progress, readers=1)
        except KilledError:
            self.let_go_of(rebuilding)
            done = -(-killed_after // 3) * 3
            self.written_again(listed[:done])
        else:
            self.written_again(listed)
            for one in list(self.undone()):
                del self.model[one]
            self.since_it_began = None

    def let_go_of(self, rebuilding: Any) -> None:
        """The process is dead."""

    def written_again(self, found: list[str]) -> None:
        items = [ITEMS[key] for key in found if key not in self.unreadable]
        self.put_into_the_model(items)
        self.since_it_began.update(map(row, items))

    @rule()
    def rebuild_to_the_end(self) -> None:
        """Nothing happens meanwhile: then the index is what the objects say, and what could not be read stays."""
        self.rebuild(0)
        self.rebuild(0)
        readable = {row(ITEMS[key]): ITEMS[key] for key in self.objects if key not in self.unreadable}
        assert readable.items() <= self.model.items()
        assert {
            item.audit_object_key for item in self.model.values()
        } <= self.objects.keys() | self.unreadable
        assert all(
            one in readable or item.audit_object_key in self.unreadable for one, item in self.model.items()
        )

    # --- what must hold ------------------------------------------------------------------------------------

    @invariant()
    def it_holds_what_the_model_holds(self) -> None:
        found = list(self.index.items())
        assert {row(item): item for item in found} == self.model
        assert len(found) == len(self.model)

    @rule(size=st.integers(1, 7))
    def look(self, size: int) -> None:
        """Each access pattern, page by page, and the counts."""
        items = list(self.model.values())
        for order in Order:
            for selection, chosen in self.selections(items):
                self.is_listed(replace(selection, order=order), chosen, size)
        for by in Grouping:
            assert self.index.tallies(Selection(), by).groups == tally_items(items, by)

    def is_listed(self, selection: Selection, chosen: list[Item], size: int) -> None:
        sort = "latencySk" if selection.order is Order.SLOWEST else "createdAt"
        wanted = sorted(chosen, key=lambda one: keys(one)[sort], reverse=True)
        assert self.pages(selection, size) == wanted

    @staticmethod
    def selections(items: list[Item]) -> Iterable[tuple[Selection, list[Item]]]:
        yield Selection(), items
        for source in {item.source for item in items}:
            yield Selection(source=source), [item for item in items if item.source == source]
        for user in {item.user for item in items}:
            yield Selection(user=user), [item for item in items if item.user == user]
        for status in {item.status_code for item in items}:
            asked = "none" if status is None else str(status)
            yield Selection(status=asked), [item for item in items if item.status_code == status]

    def pages(self, selection: Selection, size: int) -> list[Item]:
        found, cursor = [], None
        while True:
            page = self.index.query(selection, cursor, size)
            found += page.items
            cursor = page.cursor
            if cursor is None:
                return found

    def end_of_the_story(self) -> None:
        """Rebuild it once more, while some cannot be read and over a kill, and once when all can."""
        self.objects_appear(some=sorted(DOCUMENTS)[:8], are_told=True, twice=False)
        self.look(3)
        self.rebuild(0)
        self.some_become_unreadable(some=sorted(self.objects)[::2])
        self.somebody_forges_a_row(0)
        self.rebuild(4)
        self.told(sorted(DOCUMENTS)[8:10])
        self.rebuild_to_the_end()
        self.it_holds_what_the_model_holds()
        self.all_become_readable()
        self.rebuild_to_the_end()
        self.it_holds_what_the_model_holds()

    def teardown(self) -> None:
        try:
            self.end_of_the_story()
        finally:
            self.index.close()
            self.patch.undo()
            shutil.rmtree(self.folder)


SqliteMachine.TestCase.settings = LARGE_STEPS
test_the_embedded_index_says_what_a_plain_model_says_in_whatever_order_things_happen = SqliteMachine.TestCase


class DynamoMachine(SqliteMachine):
    """The same over a table of DynamoDB, a new one for each story."""

    new_table: Callable[[], Table]

    def opened(self) -> Any:
        if not hasattr(self, "table"):
            self.table = type(self).new_table()
        return DynamoIndex(self.table)

    def rebuilding(self) -> Any:
        return DynamoRebuild(self.table, self.folder / "memory.sqlite3", "audit", "logs", self.reread)

    def reread(self, key: str) -> Item | None:
        if key in self.unreadable and key in self.objects:
            raise LookupError(key)
        return ITEMS[key] if key in self.objects else None

    def let_go_of(self, rebuilding: Any) -> None:
        rebuilding.close()

    def undone(self) -> Iterable[Row]:
        """What is read again and is not what its row says: also of what came meanwhile."""
        kept = self.unreadable & self.objects.keys()
        right = {row(ITEMS[key]) for key in self.objects}
        return [
            one
            for one, item in self.model.items()
            if one not in self.since_it_began | right and item.audit_object_key not in kept
        ]

    def look(self, size: int) -> None:
        """The three patterns alone, in large pages: the local DynamoDB goes through the whole table each time."""
        items = list(self.model.values())
        for selection, chosen in self.selections(items):
            if selection != Selection():
                self.is_listed(selection, chosen, size + 40)
        for source in {item.source for item in items}:
            chosen = [item for item in items if item.source == source]
            self.is_listed(Selection(source=source, order=Order.SLOWEST), chosen, size + 40)

    # A batch that fails may be written in part here, and is written again; a table is not lost like a file.
    a_batch_fails = the_process_dies_while_it_writes = the_index_is_lost = None


def test_a_table_says_what_a_plain_model_says_in_whatever_order_things_happen(dynamodb):
    def new_table() -> Table:
        return dynamodb.table(dynamodb.new_table())

    machine = type("DynamoMachine", (DynamoMachine,), {"new_table": staticmethod(new_table)})
    run_state_machine_as_test(machine, settings=SMALL_STEPS)
