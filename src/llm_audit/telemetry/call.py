"""What telemetry wants to know of one call, taken from its record. Pure, and in the shipper's inner loop: quick.

Small, and without content: no prompt, no reply, no error's message, no user. It outlives the record by the time that
storing takes.
"""

from __future__ import annotations

from typing import NamedTuple

from llm_audit.record.schema import Outcome, Record

Series = tuple[str, str, str, str, str, str, int, str]
"""The values of ``metrics.LABELS`` as the record has them: not cut yet; empty, or 0, where there is none."""

_PROVIDERS = {
    "/v1/chat/completions": "openai",
    "/v1/completions": "openai",
    "/v1/responses": "openai",
    "/v1/embeddings": "openai",
    "/v1/messages": "anthropic",
}
_OTHER_PROVIDERS = (
    ("/v1/messages/", "anthropic"),
    ("/cohere/", "cohere"),
    ("/v2/", "cohere"),
    ("/v1/", "openai"),
)


class SpanFacts(NamedTuple):
    """What a call's span says beyond its metrics."""

    request_id: str
    started_at_ms: int
    ended_at_ms: int
    finish_reasons: tuple[str, ...]
    traceparent: str | None
    """The caller's trace context (W3C Trace Context), as it came."""
    tracestate: str | None


class Call(NamedTuple):
    """One call. Times in seconds, None where there is none that the conventions would count."""

    series: Series
    duration: float
    first_token: float | None
    per_token: float | None
    input_tokens: int | None
    output_tokens: int | None
    span: SpanFacts | None


def call_of(record: Record, *, with_span: bool) -> Call | None:
    """Give the call of a record; None for a record that speaks of no single call (a count, a stub without a request)."""
    request = record.request
    if request.method is None:
        return None
    error, outcome, status = record.error, record.outcome, record.status_code or 0
    if error is not None:
        error_type = error.type
    elif status >= 400:
        error_type = str(status)
    else:
        error_type = "" if outcome is Outcome.COMPLETE else str(outcome)
    duration = record.latency_ms / 1000
    first = per_token = None
    usage = record.usage
    output_tokens = usage.output_tokens
    if record.stream and not error_type and record.time_to_first_chunk_ms is not None:
        first = record.time_to_first_chunk_ms / 1000
        if output_tokens is not None and output_tokens > 1:
            per_token = (duration - first) / (output_tokens - 1)
    path = request.path or ""
    requested, served = record.model
    facts = (
        (
            record.operation or "unknown",
            _PROVIDERS.get(path) or _provider(path),
            requested or "",
            served or "",
            record.source or "",
            str(outcome),
            status,
            error_type,
        ),
        duration,
        first,
        per_token,
        usage.input_tokens,
        output_tokens,
        _span(record) if with_span else None,
    )
    return tuple.__new__(Call, facts)  # what Call(*facts) does, at half its cost


def _provider(path: str) -> str:
    """Tell whose interface was spoken, which is what the convention's ``gen_ai.provider.name`` tells apart."""
    return next((name for start, name in _OTHER_PROVIDERS if path.startswith(start)), "vllm")


def _span(record: Record) -> SpanFacts:
    context = {"traceparent": None, "tracestate": None} | {
        name.lower(): value
        for name, value in reversed(record.request.headers)
        if name.lower() in ("traceparent", "tracestate")
    }
    return SpanFacts(
        record.request_id,
        record.started_at_ms,
        record.started_at_ms + record.latency_ms,
        record.finish_reasons,
        context["traceparent"],
        context["tracestate"],
    )
