"""What ``dialects`` derives from one exchange: the record's fields that need a body to be understood."""

from __future__ import annotations

from typing import Any, NamedTuple

from llm_audit.record.schema import ErrorInfo, ModelNames, Usage


class Interpretation(NamedTuple):
    """Derived fields of one exchange; whatever could not be made out is None or empty, never a guess.

    Every string in it can be encoded as UTF-8, every number as JSON.
    """

    operation: str | None
    """``gen_ai.operation.name`` (see ``conventions``); None where the call is no known kind of inference."""
    model: ModelNames
    usage: Usage
    finish_reasons: tuple[str, ...]
    """In the server's own words, by choice; a stream that was cut has none."""
    stream: bool
    """The response was an event stream (what the request asked for is in the request)."""
    prompt_preview: str | None
    response_preview: str | None
    assembled: dict[str, Any] | None
    """Streams only: what a reply in one piece would have said, as far as the stream came."""
    error: ErrorInfo | None
    """The model server's own error: the body of a 4xx or 5xx, or an error event inside a 200 stream."""
