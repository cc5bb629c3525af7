"""A stack's events as they come, and those of the stacks nested in it, until the operation ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import takewhile

from llm_audit.deploy.events import NESTED, StackEvent, root_cause
from llm_audit.deploy.stacks import Stacks, pauses

_BEGINNINGS = ("CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "DELETE_IN_PROGRESS", "IMPORT_IN_PROGRESS")

Marks = Mapping[str, str | None]
"""The newest event that is known of each stack, by stack id; the root stack comes first."""


def marks(stacks: Stacks, stack_id: str) -> Marks:
    """Give the newest events of a stack and of all that are nested in it: ``follow`` begins after them."""
    found = {stack_id: next((event.id for event in stacks.events(stack_id)), None)}
    for resource in stacks.resources(stack_id):
        if resource.type == NESTED and resource.physical_id:
            found |= marks(stacks, resource.physical_id)
    return found


def follow(stacks: Stacks, stack_id: str, after: Marks) -> Iterator[StackEvent]:
    """Give what happens after some marks, in the order of time, until the event that ends the operation.

    Waits between questions to AWS: short at first, up to 3 seconds while nothing happens. Ending early (Ctrl-C)
    leaves the stack to go on by itself.
    """
    known = {stack_id: None, **after}
    waits = pauses(0.2, 3.0)
    while True:
        fresh = _fresh(stacks, known)
        yield from fresh
        if _has_ended(stacks, stack_id, fresh):
            return
        if fresh:
            waits = pauses(0.2, 3.0)
        time.sleep(next(waits))


def _fresh(stacks: Stacks, known: dict[str, str | None]) -> list[StackEvent]:
    """Give what is new in each known stack, and in those that it names for the first time; move the marks."""
    found: list[StackEvent] = []
    looked: set[str] = set()
    while pending := [stack_id for stack_id in known if stack_id not in looked]:
        for stack_id in pending:
            looked.add(stack_id)
            new = _until(stacks.events(stack_id), known[stack_id])[::-1]
            found = [*new, *found]  # in a tie of time, what is nested comes before what holds it
            if new:
                known[stack_id] = new[-1].id
            for event in new:
                if event.is_nested:
                    known.setdefault(event.physical_id, None)
    return sorted(found, key=lambda event: event.at)


def _has_ended(stacks: Stacks, stack_id: str, fresh: list[StackEvent]) -> bool:
    """Tell whether the newest events end the operation; a creation that failed is followed by its rollback."""
    own = [event for event in fresh if event.is_of_stack and event.stack_id == stack_id]
    if not own or not own[-1].is_end:
        return False
    stack = stacks.find(stack_id)
    return stack is None or stack.status == own[-1].status


def _until(events: Iterator[StackEvent], mark: str | None) -> list[StackEvent]:
    return list(takewhile(lambda event: event.id != mark, events))


def current_operation(stacks: Stacks, stack_id: str) -> list[StackEvent]:
    """Give the events of a stack's newest operation, running or ended, in the order of time."""
    found: list[StackEvent] = []
    for event in stacks.events(stack_id):
        found.append(event)
        if event.is_of_stack and event.status in _BEGINNINGS:
            break
    return found[::-1]


def find_cause(stacks: Stacks, events: list[StackEvent]) -> StackEvent | None:
    """Give the root cause among events; where a nested stack failed, the cause inside of it.

    Where AWS stopped before it made anything, the cause is told by another operation of its API.
    """
    cause = root_cause(events)
    if cause and cause.is_of_stack and "DescribeEvents" in cause.reason:
        return next(iter(stacks.validation_errors(cause.stack_id)), cause)
    if cause and cause.is_nested:
        return find_cause(stacks, current_operation(stacks, cause.physical_id)) or cause
    return cause
