"""``multipart/form-data`` (RFC 7578) read for its fields: values of text, size and name of files.

Files are never copied: the preview needs their name and their size only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

PART_LIMIT = 256
"""Parts that are looked at."""

VALUE_LIMIT = 64 * 1024
"""Bytes of a field's value that are kept."""

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*(name|filename)="((?:[^"\\]|\\.){0,1024})"', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """One field or file. ``value`` is its text, cut to ``VALUE_LIMIT`` bytes, and None for a file."""

    name: str
    file_name: str | None
    size: int
    value: str | None


def parts(content_type: str, body: bytes) -> Iterator[Part]:
    """Give the parts of a form in order; none where the content type names no boundary.

    A form that was cut gives the parts that came, the last one as far as it came.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        return
    delimiter = b"--" + (found[1] or found[2]).encode("latin-1", "replace")
    start = body.find(delimiter)
    for _ in range(PART_LIMIT):
        if start < 0 or body.startswith(b"--", start + len(delimiter)):
            return
        start += len(delimiter)
        end = body.find(b"\r\n" + delimiter, start)
        part = _part(body, start, len(body) if end < 0 else end)
        if part is not None:
            yield part
        start = end + 2 if end >= 0 else -1


def _part(body: bytes, start: int, end: int) -> Part | None:
    head_end = body.find(b"\r\n\r\n", start, end)
    if head_end < 0:
        return None
    name, file_name = "", None
    for line in body[start : min(head_end, start + 8192)].decode("utf-8", "replace").split("\r\n"):
        if not line.lower().startswith("content-disposition:"):
            continue
        for found in _PARAMETER.finditer(line):
            value = found[2].replace('\\"', '"').replace("%22", '"')
            if found[1].lower() == "name":
                name = value
            else:
                file_name = value
    content = head_end + 4
    size = max(0, end - content)
    if file_name is not None:
        return Part(name, file_name, size, None)
    return Part(name, None, size, body[content : min(end, content + VALUE_LIMIT)].decode("utf-8", "replace"))
