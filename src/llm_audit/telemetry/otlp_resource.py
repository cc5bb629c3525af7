"""Who sends: the resource of traces and metrics. Imported only where something is sent (extra ``otel``)."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.sdk.resources import Resource

from llm_audit import __version__
from llm_audit.telemetry.otel_environment import names_service

SCOPE = "llm_audit"
"""Instrumentation scope."""


def resource_of(environ: Mapping[str, str], *, service: str, node: str) -> Resource:
    """Give the resource: ``service`` unless the environment names one, and ``node``, which tells machines apart."""
    attributes = {"service.version": __version__, "host.name": node}
    if not names_service(environ):
        attributes["service.name"] = service
    if "service.instance.id=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        attributes["service.instance.id"] = node
    return Resource.create(attributes)
