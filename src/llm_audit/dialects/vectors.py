"""Calls that answer with vectors: embeddings (OpenAI's and Cohere's) and pooling.

Nobody reads vectors, so a preview says how many came and how long they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llm_audit.dialects import conventions
from llm_audit.dialects.dialect import Dialect, Reply
from llm_audit.dialects.json_values import JsonObject, compact, items, obj, short
from llm_audit.dialects.previews import conversation, inputs_newest_first, keep_end, part_text
from llm_audit.dialects.usage import read_cohere_usage, read_usage

_BYTES_PER_NUMBER = {"float16": 2, "bfloat16": 2, "fp8_e4m3": 1, "fp8_e5m2": 1}
"""By the request's ``embed_dtype``; float32 where it names none (vLLM's ``EncodingRequestMixin``)."""


def prompt(request: JsonObject, limit: int) -> str | None:
    """Give the inputs, one a line, or the conversation."""
    return keep_end(_newest_first(request), limit)


def _newest_first(request: JsonObject) -> Iterator[str]:
    if "data" in request:
        # Pooling plug-ins take any JSON.
        yield compact(request["data"])
    yield from conversation(request.get("messages"))
    yield from inputs_newest_first(request.get("input"))


def reply(request: JsonObject, document: Any, limit: int) -> Reply:
    """Read a list of embeddings, or of pooled outputs."""
    whole = obj(document)
    listed = items(whole.get("data"))
    kind = "pooled output" if whole.get("object") == "list" and _is_pooling(listed) else "embedding"
    return Reply(
        served=short(whole.get("model")),
        usage=read_usage(whole.get("usage")),
        preview=_preview(kind, listed, request)[:limit] if listed else None,
    )


def _is_pooling(listed: list[Any]) -> bool:
    return obj(listed[0]).get("object") == "pooling" if listed else False


def _preview(kind: str, listed: list[Any], request: JsonObject) -> str:
    entry = obj(listed[0])
    shape = _shape(entry.get("embedding", entry.get("data")), request) or _shape_sent(entry)
    return f"[{len(listed)} {kind}{'s' if len(listed) != 1 else ''}{shape}]"


def _shape(vector: Any, request: JsonObject) -> str:
    if isinstance(vector, str):
        numbers = (len(vector) * 3 // 4 - vector[-2:].count("=")) // _number_size(request)
        return f" of {numbers} dimensions"
    rows = items(vector)
    if rows and isinstance(rows[0], list):
        return f" of {len(rows)} x {len(rows[0])} numbers"
    return f" of {len(rows)} dimensions" if rows else ""


def _shape_sent(entry: JsonObject) -> str:
    """Where vectors came as bytes, the ``metadata`` header tells their shape."""
    shape = [compact(size)[:20] for size in items(entry.get("shape"))[:8]]
    return f" of {' x '.join(shape)} dimensions" if shape else ""


def _number_size(request: JsonObject) -> int:
    return _BYTES_PER_NUMBER.get(short(request.get("embed_dtype")) or "", 4)


def cohere_prompt(request: JsonObject, limit: int) -> str | None:
    """Give texts, inputs of several parts, and pictures."""
    return keep_end(_cohere_newest_first(request), limit)


def _cohere_newest_first(request: JsonObject) -> Iterator[str]:
    yield from ("[image]" for _ in items(request.get("images"))[:64])
    for entry in reversed(items(request.get("inputs"))):
        yield " ".join(part_text(part) for part in items(obj(entry).get("content")))
    yield from inputs_newest_first(request.get("texts"))


def cohere_reply(_: JsonObject, document: Any, limit: int) -> Reply:
    """Read Cohere's embeddings, which come by type; the count is that of the first type."""
    whole = obj(document)
    by_type = obj(whole.get("embeddings"))
    preview = None
    for kind, vectors in by_type.items():
        listed = items(vectors)
        if listed:
            width = f" of {len(listed[0])} numbers" if isinstance(listed[0], list) else ""
            preview = f"[{len(listed)} {kind} embedding{'s' if len(listed) != 1 else ''}{width}]"[:limit]
            break
    return Reply(short(whole.get("model")), read_cohere_usage(whole.get("meta")), (), preview)


EMBEDDINGS = Dialect(conventions.EMBEDDINGS, prompt, reply)
POOLING = Dialect(conventions.POOLING, prompt, reply)
COHERE_EMBED = Dialect(conventions.EMBEDDINGS, cohere_prompt, cohere_reply)
