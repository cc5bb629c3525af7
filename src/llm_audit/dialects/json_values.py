"""JSON that came from outside: parsed leniently, read through accessors that never trust a type.

orjson first. Where it refuses, the standard library decides, as it does in vLLM (Starlette's
``Request.json``): NaN, lone surrogates, a byte order mark, UTF-16. What it lets through is then cleaned, so that
everything that leaves this module can be encoded again.
"""

from __future__ import annotations

import json
import math
from typing import Any

import orjson

from llm_audit.record.schema import DERIVED_STRING_LIMIT

JsonObject = dict[str, Any]

DEPTH_LIMIT = 200
"""Deeper values are dropped: orjson writes at most 254 levels, and the record adds some of its own."""

_COUNT_LIMIT = 2**53
"""No count is larger: past this, JSON readers disagree about integers."""

_NUMBER_LIMIT = 2**63

_BOM = b"\xef\xbb\xbf"
_EMPTY: JsonObject = {}
_FIRST_BYTES = b'{["-0123456789tfnNI\x00\xfe\xff'
"""What JSON begins with, in any of its encodings; this spares a second pass over bodies that are none at all."""


def parse(data: bytes) -> Any:
    """Parse JSON text; None where it is none (and for ``null``: nobody here needs to tell them apart)."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return _parse_as_vllm_does(data)


def _parse_as_vllm_does(data: bytes) -> Any:
    data = data.removeprefix(_BOM)
    first = data.lstrip(b" \t\r\n")[:1]
    if not first or first not in _FIRST_BYTES:
        return None
    try:
        source = data.decode(json.detect_encoding(data), "surrogatepass")
    except UnicodeDecodeError:
        source = data.decode("utf-8", "replace")
    try:
        value = json.loads(source, parse_int=_integer, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return scrub(value)


def _integer(digits: str) -> int | float:
    """Read an integer as orjson does: what leaves 64 bits is a float (``int`` refuses more than 4,300 digits)."""
    return int(digits) if len(digits) < 19 else float(digits)


def _no_number(_: str) -> None:
    """NaN and the infinities: not JSON, and nothing here could use them."""


def scrub(value: Any, depth: int = 0) -> Any:
    """Copy a JSON value without what orjson cannot write: lone surrogates, infinities, huge integers, deep nesting."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict | list):
        if depth >= DEPTH_LIMIT:
            return None
        if isinstance(value, list):
            return [scrub(item, depth + 1) for item in value]
        return {clean(key): scrub(item, depth + 1) for key, item in value.items()}
    return value if value is None or _is_writable(value) else None


def _is_writable(number: float) -> bool:
    return math.isfinite(number) if isinstance(number, float) else -_NUMBER_LIMIT <= number < _NUMBER_LIMIT


def clean(text: str) -> str:
    """Replace lone surrogates by U+FFFD; halves of a pair that stand side by side become their character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def encodable(document: JsonObject) -> JsonObject:
    """Give the document as it is where orjson can write it, else a cleaned copy."""
    try:
        orjson.dumps([[[[document]]]])
    except TypeError:
        cleaned: JsonObject = scrub(document)
        return cleaned
    return document


def compact(value: Any) -> str:
    """JSON text of a value, for people to read; an ellipsis where it is nested too deep to be read."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return "…"


def obj(value: Any) -> JsonObject:
    """Give the value if it is an object, else an empty one (which nobody may change)."""
    return value if isinstance(value, dict) else _EMPTY


def items(value: Any) -> list[Any]:
    """Give the value if it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def text(value: Any) -> str | None:
    """Give the value if it is a string."""
    return value if isinstance(value, str) else None


def short(value: Any) -> str | None:
    """Give a non-empty string, cut to what a derived string may hold."""
    return value[:DERIVED_STRING_LIMIT] or None if isinstance(value, str) else None


def count(value: Any) -> int | None:
    """Give a whole number from 0 up; a float counts if it is whole (Cohere's usage), a bool does not."""
    if type(value) is float and value.is_integer():
        value = int(value)
    # The type itself: a bool is an int to ``isinstance``.
    return value if type(value) is int and 0 <= value < _COUNT_LIMIT else None
