"""Named crash points: where a test lets the process die, to prove what the specification says.

``LLM_AUDIT_CRASH_AT=name`` (or ``name:3``, at the third passage) ends the process with SIGKILL when it passes
that point. The variable is read once; without it a point is one comparison, and none stands on the hot path:
the points of an exchange are put around the writer's methods only where the variable is set (see ``armed``).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

POINTS = {
    "boot-numbered": "proxy: a boot has its number, and no segment yet",
    "before-request": "proxy: before a request's first frame",
    "after-request": "proxy: after it, before anything goes upstream",
    "before-response": "proxy: before the frame with a response's head",
    "after-response": "proxy: after it, before anything goes to the client",
    "before-chunk": "proxy: before a frame with a piece of a response",
    "mid-stream": "proxy: after one, before the piece goes to the client",
    "before-end": "proxy: before an exchange's last frame",
    "after-end": "proxy: after it",
    "before-roll": "proxy: a segment is full, the next not begun",
    "after-roll": "proxy: the next is begun",
    "recovery-written": "proxy or shipper: what recovery adds is written, and has no name",
    "recovery-named": "proxy or shipper: it has its name",
    "after-put": "shipper: an object is stored, and the ledger does not know",
    "after-ledger": "shipper: the ledger knows, and nobody was told",
    "before-delete": "shipper: all of a segment is stored, and the segment is there",
    "segment-deleted": "shipper: it is gone",
    "carry-written": "shipper: what is still open in a segment is copied, and has no name",
    "carry-named": "shipper: it has its name, and the segment is there too",
    "digest-made": "shipper: digests are made and signed, and the ledger does not know",
    "digest-kept": "shipper: the ledger keeps them, and none is in the store",
    "digest-put": "shipper: one is in the store, and the ledger does not know",
}
"""Every name, and which process passes it when."""

_NAME, _, _COUNT = os.environ.get("LLM_AUDIT_CRASH_AT", "").partition(":")
_left = int(_COUNT or 1)


def armed(name: str) -> bool:
    """Whether this process is to die at the point of this name."""
    return name == _NAME


def point(name: str) -> None:
    """Die here, if that was asked for."""
    global _left  # noqa: PLW0603 - a countdown of the whole process
    if name and name == _NAME:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def around(owner: type, method: str, *, before: str | None = None, after: str | None = None) -> None:
    """Put points before and after a method, if this process is to die at one of them; else leave it alone."""
    if not any(name and armed(name) for name in (before, after)):
        return
    original: Callable[..., Any] = getattr(owner, method)

    def with_points(*arguments: Any, **named: Any) -> Any:
        point(before or "")
        result = original(*arguments, **named)
        point(after or "")
        return result

    setattr(owner, method, with_points)
