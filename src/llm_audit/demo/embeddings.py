"""Embeddings: short vectors of unit length, the same for the same text. Pure."""

from __future__ import annotations

import base64
import hashlib
import math
import struct

from llm_audit.demo.bodies import BadBodyError
from llm_audit.demo.model import tokens
from llm_audit.demo.reply import Reply, Stamp, whole

DIMENSIONS = 64


def embeddings(model: str, texts: list[str], encoding: object, stamp: Stamp) -> Reply:
    """Answer ``POST /v1/embeddings`` with floats, or little-endian float32 in base64."""
    if encoding is not None and str(encoding) not in {"float", "base64"}:
        raise BadBodyError(
            f"encoding_format must be float or base64, got {encoding!r}.", param="encoding_format"
        )
    used = sum(len(tokens(text)) for text in texts)
    data = [
        {"index": index, "object": "embedding", "embedding": _encoded(vector(text), encoding)}
        for index, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": used, "total_tokens": used, "completion_tokens": 0}
    head = {"id": f"embd-{stamp.request_id}", "object": "list", "created": stamp.created, "model": model}
    return whole(200, head | {"data": data, "usage": usage}, prompt_tokens=used, finish="stop")


def vector(text: str) -> list[float]:
    """Place a text by its words, so that texts with words in common lie close to each other."""
    sums = [0.0] * DIMENSIONS
    for token in tokens(text) or ("",):
        digest = hashlib.blake2b(token.strip().lower().encode(), digest_size=DIMENSIONS).digest()
        for at, byte in enumerate(digest):
            sums[at] += byte - 127.5
    length = math.hypot(*sums)
    return [value / length for value in sums]


def _encoded(values: list[float], encoding: object) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    return values
