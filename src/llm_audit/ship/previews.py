"""Previews that fit a record's head. Pure."""

from __future__ import annotations

import orjson

PREVIEW_BYTES = 48 * 1024
"""Bytes that one preview may take in the object, escapes included.

Two of them, the chunk times (60 KB) and a header block of 64 KB stay within ``HEAD_LIMIT``, whatever
``AUDIT_BODY_PREVIEW`` says.
"""


def fit_preview(text: str | None) -> str | None:
    """Cut a preview to ``PREVIEW_BYTES``; at the default setting (2,048 characters) it never cuts."""
    if text is None or len(text) * 6 <= PREVIEW_BYTES:  # the longest escape, \\u0000, takes six bytes
        return text
    size = len(orjson.dumps(text)) - 2
    while size > PREVIEW_BYTES:
        # Characters differ in width: cut by the average, until it fits.
        text = text[: min(len(text) - 1, len(text) * PREVIEW_BYTES // size)]
        size = len(orjson.dumps(text)) - 2
    return text
