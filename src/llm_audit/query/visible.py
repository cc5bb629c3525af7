"""Text of strangers made visible: what a caller or a model wrote, with nothing in it that acts. Pure.

A prompt may hold escape sequences that move a terminal's cursor or answer as if typed, directional marks that show text
in another order than it has, and characters that nobody sees. Whoever shows text splits it here and shows those by
their number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_DANGEROUS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls but tab and line feed; C1, where 0x9B begins a sequence
    "\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible and directional marks; joiners, which emoji and many scripts need, may stay
    "\ud800-\udfff\U000e0000-\U000e007f]"  # lone surrogates; tag characters
)


def harmless(text: str, *, one_line: bool = False) -> str:
    r"""Give text with everything replaced that a terminal would obey, as ``\x1b`` or ``\u202e``."""
    if one_line:
        text = " ".join(text.split())
    return _DANGEROUS.sub(lambda found: named(found.group()), text)


def pieces(text: str) -> Iterator[tuple[bool, str]]:
    r"""Split text: ``(False, "as it is")`` and ``(True, r"\x1b")`` for a character that must be named, in order."""
    position = 0
    for found in _DANGEROUS.finditer(text):
        if found.start() > position:
            yield False, text[position : found.start()]
        yield True, named(found.group())
        position = found.end()
    if position < len(text):
        yield False, text[position:]


def named(character: str) -> str:
    """Give a character's number as escapes write it."""
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
