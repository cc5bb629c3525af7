"""Token counts out of a usage object, whichever dialect wrote it."""

from __future__ import annotations

from typing import Any

from llm_audit.dialects.json_values import count, obj
from llm_audit.record.schema import Usage

NO_USAGE = Usage()


def read_usage(value: Any) -> Usage:
    """Read OpenAI's usage (chat, completions, responses, embeddings) or Anthropic's.

    Counts are the server's. Two things are put right, so that they mean the same everywhere: the total is the
    sum where the server gives both parts and no total (Anthropic), and input includes cached tokens (Anthropic
    counts them apart: ``input_tokens + cache_read_input_tokens + cache_creation_input_tokens``).
    """
    if not isinstance(value, dict) or not value:
        return NO_USAGE
    given = count(value.get("prompt_tokens"))
    if given is None:
        given = count(value.get("input_tokens"))
    output = count(value.get("completion_tokens"))
    if output is None:
        output = count(value.get("output_tokens"))
    cached = _detail(value.get("prompt_tokens_details") or value.get("input_tokens_details"), "cached_tokens")
    if "cache_read_input_tokens" in value or "cache_creation_input_tokens" in value:
        read = count(value.get("cache_read_input_tokens"))
        written = count(value.get("cache_creation_input_tokens"))
        cached = read if cached is None else cached
        given = None if given is None else given + (read or 0) + (written or 0)
    return Usage(
        input_tokens=given,
        output_tokens=output,
        total_tokens=_total(count(value.get("total_tokens")), given, output),
        cached_input_tokens=cached,
        reasoning_tokens=_detail(
            value.get("completion_tokens_details") or value.get("output_tokens_details"), "reasoning_tokens"
        ),
    )


def _detail(details: Any, name: str) -> int | None:
    return count(details.get(name)) if isinstance(details, dict) else None


def read_cohere_usage(value: Any) -> Usage:
    """Read Cohere's usage: counts in ``tokens``, else in ``billed_units``, often as whole floats."""
    usage = obj(value)
    counts = obj(usage.get("tokens")) or obj(usage.get("billed_units"))
    given, output = count(counts.get("input_tokens")), count(counts.get("output_tokens"))
    return Usage(
        input_tokens=given,
        output_tokens=output,
        total_tokens=_total(None, given, output),
        cached_input_tokens=count(usage.get("cached_tokens")),
    )


def _total(total: int | None, given: int | None, output: int | None) -> int | None:
    if total is None and given is not None and output is not None:
        return given + output
    return total
