"""Who is calling: the rules for one caller header value, and for request ids. Pure.

A caller's word becomes part of index keys (``project#<source>``, ``user#<user>``), of tables on a terminal
and of metric labels. So a value is accepted only if it says something and can't pretend to be anything else:

1. present, given once, not blank, and no placeholder that a client, a template or a gateway left unresolved;
2. at most 256 characters of UTF-8;
3. no control characters, and none that break or turn around a line of text (U+2028, U+2029, bidirectional
   overrides): a log line shows what was sent, in the order in which it was sent;
4. no ``#``, which separates the parts of composite index keys.

White space around a value is HTTP's, not the caller's (RFC 9110 section 5.5), and is trimmed.
"""

from __future__ import annotations

import os
import re
import unicodedata
from binascii import unhexlify
from dataclasses import dataclass

VALUE_LIMIT = 256
"""Characters that a caller header may have, and that are kept of a bad value in an error message."""

PLACEHOLDERS = frozenset({"-", "null", "none", "undefined", "unknown", "n/a"})
"""Values, in any case, that say that nobody said anything."""

_UNRESOLVED = re.compile(r"\$context|\$\{.*\}|\{\{.*\}\}", re.IGNORECASE)
"""A variable of API Gateway, of a shell or of a template that was never filled in, anywhere in a value."""

_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Zl", "Zp"})
_INVISIBLE_CATEGORIES = frozenset({"Cf", "Zs"})
"""Spaces of any width, and format characters such as the zero-width joiner: a value of these alone is empty."""

_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a header was not accepted: a sentence that names the header and what is wrong with it."""

    header: str
    sentence: str
    code: str = "invalid_header"
    """A fixed word for the kind of fault: ``missing_header``, ``invalid_header``, ``invalid_request_id``."""


def caller_value(header: str, raw: bytes | None) -> str | Problem:
    """Give the accepted value of a caller header, or the problem with it.

    ``header`` is the name as messages shall show it; ``raw`` is the field value as received, or None where
    the header did not come. Never raises, whatever the bytes.
    """
    if raw is None:
        return Problem(
            header,
            f"{header} is missing: send who is calling, 1 to {VALUE_LIMIT} characters",
            "missing_header",
        )
    raw = raw.strip(b" \t")
    if len(raw) > 4 * VALUE_LIMIT:  # UTF-8 needs at most four bytes a character
        return Problem(
            header, f"{header} has {len(raw):,} bytes, more than {VALUE_LIMIT} characters can have"
        )
    try:
        value = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return Problem(header, f"{header} is not UTF-8 (byte {error.start + 1}): send it as UTF-8")
    fault = _fault(value)
    return value if fault is None else Problem(header, f"{header} {fault}")


def _fault(value: str) -> str | None:
    """Say what is wrong with a decoded value, as the rest of a sentence; None where nothing is."""
    if len(value) > VALUE_LIMIT:
        return f"has {len(value)} characters, at most {VALUE_LIMIT} are allowed"
    if value.lower() in PLACEHOLDERS:
        return f"is the placeholder {value!r}: send who is calling"
    if _UNRESOLVED.search(value):
        return f"holds an unresolved variable ({value!a}): it was to be replaced before the call"
    if "#" in value:
        return f"contains '#' (character {value.index('#') + 1}), which separates the parts of index keys"
    return None if value and value.isascii() and value.isprintable() else _character_fault(value)


def _character_fault(value: str) -> str | None:
    for position, character in enumerate(value, 1):
        if unicodedata.category(character) in _FORBIDDEN_CATEGORIES or character in _BIDI_CONTROLS:
            return f"contains the control character U+{ord(character):04X} (character {position})"
    if all(unicodedata.category(character) in _INVISIBLE_CATEGORIES for character in value):
        return "is empty: send who is calling"
    return None


def says_nothing(value: str) -> bool:
    """Tell whether a value names nobody: blank, a placeholder, or a variable that was never filled in."""
    return not value.strip() or value.strip().lower() in PLACEHOLDERS or bool(_UNRESOLVED.search(value))


def repeated_header(header: str) -> Problem:
    """Give the problem of a header that came more than once: which one speaks can't be known."""
    return Problem(header, f"{header} was given more than once: send it once")


def escaped(raw: bytes, limit: int = VALUE_LIMIT) -> str:
    r"""Show bytes of unknown kind as printable ASCII (``\n``, ``\xff``), cut to ``limit`` characters."""
    return raw[:limit].decode("latin-1").encode("unicode_escape").decode("ascii")[:limit]


def parse_request_id(raw: bytes) -> bytes | None:
    """Give the 16 bytes of a UUID written as 8-4-4-4-12 hex digits in any case; None for anything else.

    Any version and variant is taken: the id is the caller's, we only need it to be one (RFC 9562 section 4).
    """
    if len(raw) != 36 or raw[8] != 45 or raw[13] != 45 or raw[18] != 45 or raw[23] != 45:
        return None
    digits = raw.replace(b"-", b"")
    if len(digits) != 32:
        return None
    try:
        return unhexlify(digits)
    except ValueError:
        return None


def bad_request_id(raw: bytes) -> Problem:
    """Give the problem of a request id that is no UUID, with what came, escaped and cut to 256."""
    shown = escaped(raw.strip(b" \t"))
    expected = "expected a UUID (8-4-4-4-12 hex digits), or leave the header out"
    return Problem("x-request-id", f"x-request-id is not a UUID: '{shown}'; {expected}", "invalid_request_id")


def format_request_id(raw: bytes) -> str:
    """Write the 16 bytes of a UUID as lower-case 8-4-4-4-12 hex digits."""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class RequestIds:
    """Makes UUIDs of version 7 that sort in the order in which they were made (RFC 9562 section 6.2, method 1).

    Layout: 48 bits of milliseconds, version, 12 + 30 bits of a counter that starts at a random value below
    2^41 in each millisecond, variant, 32 random bits. Meant for one thread; two threads at once would give
    ids that still differ in their random bits.
    """

    _ROLLBACK_MS = 10_000
    """A clock that steps back by less is waited out by counting on; by more, ids follow the clock."""

    def __init__(self) -> None:
        self._last_ms = -1
        self._counter = 0
        self._random = b""
        self._random_used = 0

    def new(self, now_ms: int) -> bytes:
        """Give a new id; ``now_ms`` is the wall clock, milliseconds since the epoch."""
        start = self._random_used
        if start >= len(self._random):
            self._random, start = os.urandom(10 * 256), 0
        self._random_used = start + 10
        entropy = self._random[start : start + 10]
        if now_ms > self._last_ms or now_ms < self._last_ms - self._ROLLBACK_MS:
            self._last_ms = now_ms
            self._counter = int.from_bytes(entropy[:6], "big") >> 7
        else:
            self._counter += 1
            if self._counter >> 42:  # 2^41 ids in a millisecond: borrow the next one
                self._last_ms += 1
                self._counter = 0
        counter = self._counter
        high = (self._last_ms & 0xFFFF_FFFF_FFFF) << 16 | 0x7000 | counter >> 30
        low = 0x8000_0000 | counter & 0x3FFF_FFFF
        return (high << 32 | low).to_bytes(12, "big") + entropy[6:]

    def forget(self) -> None:
        """Start afresh, so that a forked process does not make its parent's ids."""
        self._last_ms = -1
        self._random = b""


_PROCESS_IDS = RequestIds()
os.register_at_fork(after_in_child=_PROCESS_IDS.forget)


def new_request_id(now_ms: int) -> bytes:
    """Give the 16 bytes of a new UUIDv7, later than any this process made before (see ``RequestIds``)."""
    return _PROCESS_IDS.new(now_ms)
