"""What the standard ``OTEL_*`` variables ask of us. Pure; OpenTelemetry's own packages read the rest of them.

Source: OpenTelemetry specification, "Environment Variable Specification" and "OpenTelemetry Protocol Exporter".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PROTOCOL = "http/protobuf"
"""The only one that is spoken, and the specification's default."""

DEFAULT_INTERVAL_S = 60.0
_TEMPORALITIES = ("cumulative", "delta", "lowmemory")


@dataclass(frozen=True, slots=True)
class OtelPlan:
    """What is to be sent, and what cannot be."""

    traces: bool = False
    metrics: bool = False
    interval_s: float = DEFAULT_INTERVAL_S
    """Between two exports of metrics (``OTEL_METRIC_EXPORT_INTERVAL``)."""
    temporality: str = "cumulative"
    """``cumulative``, ``delta`` or ``lowmemory`` (``OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE``)."""
    problems: tuple[str, ...] = ()
    """What was asked and is not done, for the log; nothing of it keeps records from being stored."""

    @property
    def sends(self) -> bool:
        """Whether anything is sent at all."""
        return self.traces or self.metrics


def otel_plan(environ: Mapping[str, str]) -> OtelPlan:
    """Read the environment. Nothing is sent unless an endpoint is named."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return OtelPlan()
    problems: list[str] = []
    traces = _is_sent("TRACES", environ, problems)
    metrics = _is_sent("METRICS", environ, problems)
    interval_s, temporality = DEFAULT_INTERVAL_S, "cumulative"
    if metrics:
        interval_s = _interval_s(environ, problems)
        temporality = _temporality(environ, problems)
    return OtelPlan(traces, metrics, interval_s, temporality, tuple(problems))


def names_service(environ: Mapping[str, str]) -> bool:
    """Tell whether the environment names the service, so that our own name for it is not used."""
    attributes = environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")
    named = any(attribute.partition("=")[0].strip() == "service.name" for attribute in attributes)
    return named or bool(environ.get("OTEL_SERVICE_NAME"))


def _is_sent(signal: str, environ: Mapping[str, str], problems: list[str]) -> bool:
    endpoint = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or environ.get(
        "OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    if not endpoint:
        return False
    exporters = [name.strip() for name in (environ.get(f"OTEL_{signal}_EXPORTER") or "otlp").split(",")]
    unknown = sorted(set(exporters) - {"otlp", "none", "prometheus"})
    if unknown:
        problems.append(f"OTEL_{signal}_EXPORTER: got {', '.join(unknown)}, expected otlp or none")
    if "otlp" not in exporters:
        return False
    name = f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"
    if not environ.get(name):
        name = "OTEL_EXPORTER_OTLP_PROTOCOL"
    protocol = environ.get(name) or PROTOCOL
    if protocol != PROTOCOL:
        problems.append(
            f"{name}: got {protocol}, expected {PROTOCOL} (port 4318 of a collector): no {signal.lower()} are sent"
        )
        return False
    return True


def _interval_s(environ: Mapping[str, str], problems: list[str]) -> float:
    text = environ.get("OTEL_METRIC_EXPORT_INTERVAL") or ""
    if not text:
        return DEFAULT_INTERVAL_S
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text) / 1000
    problems.append(f"OTEL_METRIC_EXPORT_INTERVAL: got {text!r}, expected milliseconds: 60000 is used")
    return DEFAULT_INTERVAL_S


def _temporality(environ: Mapping[str, str], problems: list[str]) -> str:
    name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    text = (environ.get(name) or "cumulative").strip().lower()
    if text in _TEMPORALITIES:
        return text
    problems.append(
        f"{name}: got {text!r}, expected {', '.join(_TEMPORALITIES[:2])} or lowmemory: cumulative is used"
    )
    return "cumulative"
