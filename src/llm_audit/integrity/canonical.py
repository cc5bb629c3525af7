"""Canonical JSON (RFC 8785, JCS), for values that hold no fractions. Pure.

What is signed or hashed is bytes, and this is the one way to write a value as bytes: UTF-8, no white space, members
sorted by name. RFC 8785 is hard in two places only, numbers (as ECMAScript prints them) and the order of names (by
UTF-16 units). Neither arises here: numbers are integers below 2^53, names are ASCII. What is left is
what orjson writes; a test holds it against the standard library, character by character.
"""

from __future__ import annotations

from typing import Any

import orjson

INTEGER_LIMIT = 2**53
"""Integers are smaller than that: every JSON reader has them exactly (RFC 8785, section 3.2.2.3)."""


class NotCanonicalError(ValueError):
    """Bytes that are no canonical JSON; the message says why."""


def canonical(value: Any) -> bytes:
    """Write a value of strings, integers, booleans, None, lists and dictionaries with ASCII names.

    Raises TypeError for what cannot be written, such as a lone surrogate.
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def read_canonical(data: bytes) -> Any:
    """Read a value back. Raises NotCanonicalError where the bytes are not the ones that ``canonical`` gives for it.

    So a value has one spelling: a member given twice, white space, another escape are all refused. A number with a
    fraction may come through; whoever reads a member asks for its type.
    """
    try:
        value = orjson.loads(data)
        is_canonical = canonical(value) == data
    except (ValueError, TypeError, RecursionError) as error:
        raise NotCanonicalError(f"it is no JSON: {error}") from None
    if not is_canonical:
        raise NotCanonicalError("it is JSON, but not in the canonical form (RFC 8785)")
    return value
