"""From an audit object's bytes to its head: everything but the bodies, in little memory. Standard library only.

The object is hashed as it is read. A small one is parsed at once. A large one is never held: its bytes run
through ``BodySkipper``, which keeps the document and leaves out, unread and at the speed of a regular
expression, the values that may be large (``SKIPPED``), and the ends of texts longer than any of ours
(``TEXT_LIMIT``). So a 300 MB object costs a few chunks of memory, wherever its size lies.

The object's members have a fixed order, but nothing here leans on it: bodies are skipped wherever they stand.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any

from llm_audit.index.schema import NotAnAuditDocumentError

WHOLE_LIMIT = 256 * 1024
"""Objects up to this size are parsed as they are."""

KEPT_LIMIT = 2 * 1024 * 1024
"""A document whose part outside the bodies is larger is none of ours: its head has at most 256 KiB."""

TEXT_LIMIT = 256 * 1024
"""Bytes kept of a text outside the bodies: a document's whole head has no more. Items keep far less of any."""

SKIPPED = frozenset({b'"bodyText"', b'"bodyBase64"', b'"assembled"'})
"""Members of ``request`` and ``response`` whose values are left out (read as null)."""

_PARENTS = frozenset({b'"request"', b'"response"'})


@dataclass(frozen=True, slots=True)
class Head:
    """A parsed document without its bodies, the digest of the whole object as hex, and its size."""

    document: dict[str, Any]
    sha256: str
    size: int


def read_head(chunks: Iterable[bytes]) -> Head:
    """Read an object to its end and parse its head.

    Raises NotAnAuditDocumentError as soon as it is clear that the object is no JSON object, or too large to
    be ours; whatever reading the chunks raises passes through.
    """
    digest, size = hashlib.sha256(), 0

    def hashed() -> Iterator[bytes]:
        nonlocal size
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            yield chunk

    pieces = hashed()
    begin = []
    for piece in pieces:
        begin.append(piece)
        if size > WHOLE_LIMIT:
            break
    if size > WHOLE_LIMIT:
        if not b"".join(begin).lstrip(b" \t\r\n").startswith(b"{"):
            raise NotAnAuditDocumentError("the object is no JSON document (it does not begin with {)")
        skipper = BodySkipper()
        for piece in chain(begin, pieces):
            skipper.feed(piece)
        begin = [skipper.kept()]
    document = _parse(b"".join(begin))
    return Head(document, digest.hexdigest(), size)


def _parse(data: bytes) -> dict[str, Any]:
    try:
        document = _DECODER.decode(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise NotAnAuditDocumentError(f"the object is no JSON document ({error})") from None
    if not isinstance(document, dict):
        raise NotAnAuditDocumentError(f"the object is JSON, but a {type(document).__name__}, not an object")
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
"""Made once: ``json.loads`` with a hook makes one for each document."""


_TOKEN = re.compile(rb'[ \t\r\n]++|"(?:[^"\\]++|\\.)*+"|[{}\[\],:]|[^\s{}\[\],:"]++', re.DOTALL)
_LONG_TEXT = re.compile(rb'"(?:[^"\\]++|\\u[0-9A-Fa-f]{4}|\\[^u])*+', re.DOTALL)
_STRING_REST = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_WHOLE_TOKENS = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_DEPTH_STEPS = bytes.maketrans(b"{[}]", b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(set(range(256)) - set(b"{[}]"))
_WINDOW = 4096
_SHORT = 256
_BOUNDARY = re.compile(rb'["{}\[\],]')


class BodySkipper:
    """Copies a JSON document as it comes, piece by piece, and leaves the large values out.

    It follows strings, brackets and member names, and nothing else: whether the rest is JSON is for the
    parser to say. Feeding it byte by byte gives the same as feeding it whole.
    """

    def __init__(self) -> None:
        self._kept = bytearray()
        self._rest = b""
        self._brackets = bytearray()
        self._names: list[bytes] = []
        self._last_string = b""
        self._is_skipping = False
        self._skip_depth = 0
        self._in_skipped_string = False
        self._careful_until = 0

    def feed(self, piece: bytes) -> None:
        """Take the next bytes. Raises NotAnAuditDocumentError where far too much would be kept."""
        data = self._rest + piece if self._rest else piece
        position = self._careful_until = 0
        while True:
            step = self._skip if self._is_skipping else self._keep
            position, is_stuck = step(data, position)
            if is_stuck:
                break
        self._rest = data[position:]
        if len(self._kept) + len(self._rest) > KEPT_LIMIT:
            raise NotAnAuditDocumentError(
                f"the object has more than {KEPT_LIMIT} bytes outside the bodies of an audit document"
            )

    def kept(self) -> bytes:
        """Give the document without the skipped values, once everything was fed."""
        return bytes(self._kept) + self._rest

    def _keep(self, data: bytes, position: int) -> tuple[int, bool]:
        """Copy one token; stuck at the end, or at a string whose end is still to come."""
        match = _TOKEN.match(data, position)
        end = match.end() if match else len(data)
        if end - position > TEXT_LIMIT and data[position : position + 1] == b'"':
            return self._keep_beginning(data, position), False
        if match is None:
            return position, True
        token = match.group()
        self._kept += token
        first = token[:1]
        if first == b'"':
            self._last_string = token
        elif first in b"{[":
            self._brackets += first
            self._names.append(b"")
        elif first in b"}]" and self._brackets:
            self._brackets.pop()
            self._names.pop()
        elif first == b":" and self._names:
            self._names[-1] = self._last_string
            if self._is_at_large_value():
                self._kept += b"null"
                self._is_skipping, self._skip_depth = True, 0
        return match.end(), False

    def _keep_beginning(self, data: bytes, position: int) -> int:
        """Copy the first part of a long text, up to the end of a character; its rest is skipped."""
        match = _LONG_TEXT.match(data, position, position + TEXT_LIMIT)
        assert match is not None
        end = match.end()
        while data[end] & 0xC0 == 0x80:  # a byte within a UTF-8 character (RFC 3629 section 3)
            end -= 1
        self._kept += data[position:end] + b'"'
        self._last_string = b""
        self._is_skipping, self._skip_depth, self._in_skipped_string = True, 0, True
        return end

    def _is_at_large_value(self) -> bool:
        return self._brackets == b"{{" and self._names[0] in _PARENTS and self._names[1] in SKIPPED

    def _skip(self, data: bytes, position: int) -> tuple[int, bool]:
        """Pass over a part of a skipped value; stuck at the end of the data."""
        if self._in_skipped_string:
            end = _end_of_string(data, position)
            if data[end : end + 1] != b'"':
                return end, True
            self._in_skipped_string = False
            self._is_skipping = self._skip_depth > 0
            return end + 1, False
        if self._skip_depth and position >= self._careful_until:
            end = self._skip_within(data, position)
            if end > position:
                return end, False
            self._careful_until = position + _WINDOW
        boundary = _BOUNDARY.search(data, position)
        if boundary is None:
            return len(data), True
        found = boundary.group()
        if found == b'"':
            self._in_skipped_string = True
        elif found in b"{[":
            self._skip_depth += 1
        elif self._skip_depth == 0:
            self._is_skipping = False
            return boundary.start(), False
        elif found != b",":
            self._skip_depth -= 1
            self._is_skipping = self._skip_depth > 0
        return boundary.end(), False

    def _skip_within(self, data: bytes, position: int) -> int:
        """Pass over the next window of a skipped object or array at once, if its end is not in there.

        Strings are taken out, then all but the brackets, and the depth is added up; at the speed of C, since an
        assembled reply may have millions of brackets (log probabilities of every token).
        """
        whole = _WHOLE_TOKENS.match(data, position, position + _WINDOW)
        assert whole is not None
        steps = array("b", _STRING.sub(b"", whole.group()).translate(_DEPTH_STEPS, _NO_BRACKETS))
        if self._skip_depth + min(accumulate(steps), default=0) <= 0:
            return position
        self._skip_depth += sum(steps)
        return whole.end()


def _end_of_string(data: bytes, position: int) -> int:
    r"""Find the quote that ends a string, or where to wait for more: the end, or a last lone backslash.

    A body that is JSON has an escaped quote every few bytes, which costs a regular expression a step each.
    So a long one is mostly answered by taking out ``\\`` and then ``\"`` at the speed of memory: no quote left,
    no end. Pairs are taken from the left of each run of backslashes, just as a parser reads them.
    """
    short = _STRING_REST.match(data, position, position + _SHORT)
    assert short is not None
    if data[short.end() : short.end() + 1] == b'"':
        return short.end()
    rest = data[position:] if position else data
    if b'"' not in rest.replace(b"\\\\", b"").replace(b'\\"', b""):
        backslashes = len(rest) - len(rest.rstrip(b"\\"))
        return len(data) - backslashes % 2
    match = _STRING_REST.match(data, position)
    assert match is not None
    return match.end()
