"""What a dialect is: how one kind of call says what was asked, what was answered, and how a stream adds up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from llm_audit.dialects.json_values import JsonObject
from llm_audit.dialects.usage import NO_USAGE
from llm_audit.record.schema import Usage

FINISH_REASON_LIMIT = 64
"""Finish reasons kept: vLLM takes up to 16,384 choices, and the record's head has a limit."""


class Reply(NamedTuple):
    """What a reply says, in one piece or put together from a stream."""

    served: str | None = None
    usage: Usage = NO_USAGE
    finish_reasons: tuple[str, ...] = ()
    preview: str | None = None


StreamEvent = tuple[str, JsonObject]
"""Name and JSON object of one event (``[DONE]`` and what is no object is left out)."""

PromptReader = Callable[[JsonObject, int], str | None]
"""(request, limit in characters) → preview of what was asked."""

ReplyReader = Callable[[JsonObject, Any, int], Reply]
"""(request, reply's JSON, limit in characters) → what it says."""

Assembler = Callable[[Iterable[StreamEvent]], JsonObject | None]
"""Events → the reply in one piece; None where no event carried any of it."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One kind of call. Readers are pure, take any JSON for what it should be, and never raise."""

    operation: str
    prompt: PromptReader
    reply: ReplyReader
    assemble: Assembler | None = None
    """None where the kind has no streams: then the events themselves decide how they add up."""
