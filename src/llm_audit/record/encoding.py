"""The record as bytes: the object that is stored, and its digest.

One canonical form: UTF-8 JSON, members in the order of the contract, no white space. ``request`` and
``response`` stand last and their bodies last inside them: everything before the request's body fits into
``HEAD_LIMIT`` bytes, so that a reader learns all that was derived without reading a body.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import orjson

from llm_audit.record.schema import SCHEMA_VERSION, Record, RequestPart, ResponsePart
from llm_audit.record.times import iso_from_ms

HEAD_LIMIT = 256 * 1024
"""Bytes within which everything before the request's body stands."""


def sha256_hex(data: bytes) -> str:
    """SHA-256 as lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def encode_record(record: Record) -> bytes:
    """Encode a record as its object's bytes; the same record always gives the same bytes.

    Derived strings must be free of lone surrogates (``dialects`` sees to that).
    """
    return orjson.dumps(document(record))


def document(record: Record) -> dict[str, Any]:
    """Give the record as a JSON document with the contract's member names and order."""
    usage, model, writer = record.usage, record.model, record.writer
    return {
        "schemaVersion": SCHEMA_VERSION,
        "requestId": record.request_id,
        "source": record.source,
        "user": record.user,
        "requestType": record.request_type,
        "identity": {"source": record.identity.source.value, "keyId": record.identity.key_id},
        "startedAt": iso_from_ms(record.started_at_ms),
        "firstChunkAt": None
        if record.time_to_first_chunk_ms is None
        else iso_from_ms(record.started_at_ms + record.time_to_first_chunk_ms),
        "endedAt": iso_from_ms(record.started_at_ms + record.latency_ms),
        "latencyMs": record.latency_ms,
        "timeToFirstChunkMs": record.time_to_first_chunk_ms,
        "chunkCount": len(record.chunk_times_ms),
        "chunkTimesMs": run_lengths(record.chunk_times_ms),
        "outcome": record.outcome.value,
        "statusCode": record.status_code,
        "error": None
        if record.error is None
        else {"type": record.error.type, "message": record.error.message},
        "operation": record.operation,
        "model": {"requested": model.requested, "served": model.served},
        "usage": {
            "inputTokens": usage.input_tokens,
            "outputTokens": usage.output_tokens,
            "totalTokens": usage.total_tokens,
            "cachedInputTokens": usage.cached_input_tokens,
            "reasoningTokens": usage.reasoning_tokens,
        },
        "finishReasons": record.finish_reasons,
        "stream": record.stream,
        "promptPreview": record.prompt_preview,
        "responsePreview": record.response_preview,
        "client": {"address": record.client.address, "userAgent": record.client.user_agent},
        "writer": {
            "id": writer.id,
            "boot": writer.boot,
            "sequence": writer.sequence,
            "previousSha256": writer.previous_sha256,
        },
        "proxyVersion": record.proxy_version,
        "request": _request(record.request),
        "response": None if record.response is None else _response(record.response),
    }


def _request(part: RequestPart) -> dict[str, Any]:
    return {
        "method": part.method,
        "path": part.path,
        "query": part.query,
        "headers": part.headers,
        "contentType": part.content_type,
        "bytes": part.byte_count,
        "sha256": part.sha256,
        **_body(part.body),
    }


def _response(part: ResponsePart) -> dict[str, Any]:
    return {
        "headers": part.headers,
        "contentType": part.content_type,
        "bytes": part.byte_count,
        "deliveredBytes": part.delivered_bytes,
        "sha256": part.sha256,
        "assembled": part.assembled,
        **_body(part.body),
    }


def _body(body: bytes | None) -> dict[str, str]:
    """Exact in either form: text only where decoding and encoding give the same bytes back."""
    if body is None:
        return {}
    try:
        return {"bodyText": body.decode("utf-8")}
    except UnicodeDecodeError:
        return {"bodyBase64": base64.b64encode(body).decode("ascii")}


CHUNK_TIMES_PLAIN = 256
"""Up to so many chunk times are written one by one; longer lists as ``[offset, count]`` runs."""

CHUNK_TIMES_RUNS = 4096
"""At most so many runs: past that, neighbours are joined by rounding offsets to ever coarser steps."""


def run_lengths(times: tuple[int, ...]) -> list[int] | list[list[int]]:
    """Chunk times, plain where there are few, else run-length coded and bounded.

    A bounded list keeps the document's head within ``HEAD_LIMIT`` for a stream of a million chunks; the
    step of rounding doubles until the runs fit, so the count of chunks stays exact and times become coarser.
    """
    if len(times) <= CHUNK_TIMES_PLAIN:
        return list(times)
    step = 1
    while True:
        runs: list[list[int]] = []
        for time in times:
            rounded = time - time % step
            if runs and runs[-1][0] == rounded:
                runs[-1][1] += 1
            elif len(runs) == CHUNK_TIMES_RUNS:
                break
            else:
                runs.append([rounded, 1])
        else:
            return runs
        step *= 2


def without_bodies(record: Record) -> Record:
    """Give the same record with both bodies and the assembled reply left out; digests stay."""
    response = record.response
    return record._replace(
        request=record.request._replace(body=None),
        response=None if response is None else response._replace(body=None, assembled=None),
    )
