"""One span for each call, sent to an OpenTelemetry collector by the SDK's batch processor, in its own thread.

The span joins the trace of whoever called, where the request brought a ``traceparent`` (W3C Trace Context). Which
spans are kept, and how many may wait, say ``OTEL_TRACES_SAMPLER`` and ``OTEL_BSP_*``; what does not fit is dropped
there, never waited for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from llm_audit import __version__
from llm_audit.record.schema import DERIVED_STRING_LIMIT
from llm_audit.telemetry.call import Call, SpanFacts
from llm_audit.telemetry.metrics import LABELS
from llm_audit.telemetry.otlp_resource import SCOPE

_NS_PER_MS = 1_000_000
_NOWHERE = Context()
_PROPAGATOR = TraceContextTextMapPropagator()


class SpanSender:
    """Makes spans of calls. For one thread."""

    def __init__(self, resource: Resource) -> None:
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(SCOPE, __version__)

    def add(self, calls: Iterable[Call]) -> None:
        """Make and queue the calls' spans."""
        for call in calls:
            if call.span is not None:
                self._add(call, call.span)

    def close(self, timeout_s: float) -> None:
        """Send what is queued, within the time limit, and end."""
        ending = threading.Thread(target=self._provider.shutdown, name="otlp-spans-end", daemon=True)
        ending.start()
        ending.join(timeout_s)

    def _add(self, call: Call, facts: SpanFacts) -> None:
        operation, model = call.series[0], call.series[2]
        span = self._tracer.start_span(
            f"{operation} {model[:DERIVED_STRING_LIMIT]}" if model else operation,
            context=_parent(facts),
            kind=SpanKind.SERVER,
            attributes=span_attributes(call, facts),
            start_time=facts.started_at_ms * _NS_PER_MS,
        )
        if call.series[7]:
            span.set_status(StatusCode.ERROR)
        span.end(facts.ended_at_ms * _NS_PER_MS)


def _parent(facts: SpanFacts) -> Context:
    if facts.traceparent is None:
        return _NOWHERE
    carrier = {"traceparent": facts.traceparent}
    if facts.tracestate is not None:
        carrier["tracestate"] = facts.tracestate
    return _PROPAGATOR.extract(carrier, _NOWHERE)


def span_attributes(call: Call, facts: SpanFacts) -> dict[str, AttributeValue]:
    """Give a span's attributes, by the conventions' names; those that the call does not have are left out."""
    series: tuple[str | int, ...] = call.series
    attributes: dict[str, AttributeValue] = {
        name: value[:DERIVED_STRING_LIMIT] if isinstance(value, str) else value
        for name, value in zip(LABELS, series, strict=True)
        if value
    }
    attributes["llm_audit.request_id"] = facts.request_id
    if facts.finish_reasons:
        attributes["gen_ai.response.finish_reasons"] = [
            reason[:DERIVED_STRING_LIMIT] for reason in facts.finish_reasons
        ]
    amounts: dict[str, float | None] = {
        "gen_ai.usage.input_tokens": call.input_tokens,
        "gen_ai.usage.output_tokens": call.output_tokens,
        "gen_ai.response.time_to_first_chunk": call.first_token,
    }
    attributes.update({name: amount for name, amount in amounts.items() if amount is not None})
    return attributes
