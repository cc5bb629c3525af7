"""What each status of a CloudFormation stack means, and what can be done in it: one table. Pure.

Source: "Stack status codes" of AWS's CloudFormation user guide. An unknown status counts as running where it says so
in its name, else as one that nothing is done in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Next(Enum):
    """What ``deploy`` does with a stack that it finds."""

    CREATE = "create"
    UPDATE = "update"
    REMOVE_THEN_CREATE = "remove what a failed creation left, then create"
    CONTINUE_ROLLBACK = "continue the rollback"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class State:
    """One status: ``is_running`` while AWS works on the stack, ``is_good`` where it is as it was asked to be."""

    meaning: str
    next: Next
    is_running: bool = False
    is_good: bool = False
    advice: str = ""


def _running(meaning: str) -> State:
    return State(meaning, Next.REFUSE, is_running=True, advice="wait: `llm-audit aws status --follow`")


_DESTROY = "remove it with `llm-audit aws destroy`, then deploy again"
_CONTINUE = "mend the cause, then `llm-audit aws deploy --continue-rollback`; the stack runs as it was before"

STATES: dict[str, State] = {
    "REVIEW_IN_PROGRESS": State("a shell for a change set; nothing exists yet", Next.CREATE),
    "CREATE_IN_PROGRESS": _running("is being created"),
    "CREATE_COMPLETE": State("stands", Next.UPDATE, is_good=True),
    "CREATE_FAILED": State("could not be created, and was left as it is", Next.REFUSE, advice=_DESTROY),
    "ROLLBACK_IN_PROGRESS": _running("could not be created and is being removed"),
    "ROLLBACK_COMPLETE": State(
        "could not be created; nothing of it exists",
        Next.REMOVE_THEN_CREATE,
        advice="mend the cause and deploy again: the empty stack is replaced",
    ),
    "ROLLBACK_FAILED": State("could not be created, nor wholly removed", Next.REFUSE, advice=_DESTROY),
    "UPDATE_IN_PROGRESS": _running("is being updated"),
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS": _running("is updated; what was replaced is being removed"),
    "UPDATE_COMPLETE": State("stands", Next.UPDATE, is_good=True),
    "UPDATE_FAILED": State("could not be updated, and was left as it is", Next.UPDATE, advice="deploy again"),
    "UPDATE_ROLLBACK_IN_PROGRESS": _running("could not be updated and goes back to what it was"),
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS": _running(
        "is back to what it was; leftovers are being removed"
    ),
    "UPDATE_ROLLBACK_COMPLETE": State(
        "stands as it was before an update that failed",
        Next.UPDATE,
        advice="mend the cause and deploy again; until then everything runs as before",
    ),
    "UPDATE_ROLLBACK_FAILED": State(
        "could neither be updated nor go back", Next.CONTINUE_ROLLBACK, advice=_CONTINUE
    ),
    "DELETE_IN_PROGRESS": _running("is being removed"),
    "DELETE_COMPLETE": State("is removed", Next.CREATE, is_good=True),
    "DELETE_FAILED": State(
        "could not be wholly removed",
        Next.REFUSE,
        advice="mend the cause, then run `llm-audit aws destroy` again: it goes on with what is left",
    ),
    "IMPORT_IN_PROGRESS": _running("takes resources over"),
    "IMPORT_COMPLETE": State("stands", Next.UPDATE, is_good=True),
    "IMPORT_ROLLBACK_IN_PROGRESS": _running("could not take resources over and lets go of them"),
    "IMPORT_ROLLBACK_COMPLETE": State(
        "stands as it was before an import that failed", Next.UPDATE, is_good=True
    ),
    "IMPORT_ROLLBACK_FAILED": State("could not let go of resources", Next.REFUSE, advice="see AWS's console"),
}


def state_of(status: str) -> State:
    """Give what a status means."""
    if status in STATES:
        return STATES[status]
    if status.endswith("_IN_PROGRESS"):
        return _running(f"is at work ({status})")
    return State(f"has a status that this version does not know ({status})", Next.REFUSE)
