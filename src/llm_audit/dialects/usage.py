"""Token counts out of a usage object, whichever dialect wrote it."""

from __future__ import annotations

from typing import Any

from llm_audit.dialects.json_values import JsonObject, count, obj
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
    given = _first(value, "prompt_tokens", "input_tokens")
    output = _first(value, "completion_tokens", "output_tokens")
    input_details = obj(value.get("prompt_tokens_details") or value.get("input_tokens_details"))
    output_details = obj(value.get("completion_tokens_details") or value.get("output_tokens_details"))
    cache_read = count(value.get("cache_read_input_tokens"))
    cache_written = count(value.get("cache_creation_input_tokens"))
    if given is not None and (cache_read or cache_written):
        given += (cache_read or 0) + (cache_written or 0)
    cached = count(input_details.get("cached_tokens"))
    return Usage(
        input_tokens=given,
        output_tokens=output,
        total_tokens=_total(count(value.get("total_tokens")), given, output),
        cached_input_tokens=cache_read if cached is None else cached,
        reasoning_tokens=count(output_details.get("reasoning_tokens")),
    )


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


def _first(value: JsonObject, *names: str) -> int | None:
    return next((found for name in names if (found := count(value.get(name))) is not None), None)


def _total(total: int | None, given: int | None, output: int | None) -> int | None:
    if total is None and given is not None and output is not None:
        return given + output
    return total
