"""Merkle trees as RFC 9162 (Certificate Transparency 2.0) has them, section 2.1, over SHA-256. Pure.

A leaf's hash is SHA-256(0x00 || leaf), a node's SHA-256(0x01 || left || right), so that neither can pass for the
other. The RFC splits a list at the largest power of two below its length; joining neighbours level by level, and
letting an odd one out rise as it is, builds the same tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

EMPTY_ROOT = sha256(b"").digest()
"""The root of no leaves (section 2.1.1)."""


def leaf_hash(leaf: bytes) -> bytes:
    """Hash a leaf."""
    return sha256(b"\x00" + leaf).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def _level_above(hashes: Sequence[bytes]) -> list[bytes]:
    above = [
        sha256(b"\x01" + left + right).digest()
        for left, right in zip(hashes[::2], hashes[1::2], strict=False)
    ]
    if len(hashes) % 2:
        above.append(hashes[-1])
    return above


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """Give the root over hashed leaves."""
    level: Sequence[bytes] = leaf_hashes
    while len(level) > 1:
        level = _level_above(level)
    return level[0] if level else EMPTY_ROOT


def inclusion_path(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Give the proof that a leaf is in the tree: its neighbours, from the bottom up (section 2.1.3.1).

    Raises IndexError where there is no such leaf.
    """
    if not 0 <= index < len(leaf_hashes):
        raise IndexError(f"there is no leaf {index} among {len(leaf_hashes)}")
    path = []
    level: Sequence[bytes] = leaf_hashes
    while len(level) > 1:
        neighbour = index ^ 1
        if neighbour < len(level):
            path.append(level[neighbour])
        level = _level_above(level)
        index //= 2
    return path


def root_from_path(hashed_leaf: bytes, index: int, tree_size: int, path: Iterable[bytes]) -> bytes | None:
    """Give the root that a proof leads to; None where it cannot be one of such a tree (section 2.1.3.2)."""
    if not 0 <= index < tree_size:
        return None
    position, last, result = index, tree_size - 1, hashed_leaf
    for neighbour in path:
        if last == 0:
            return None
        if position & 1 or position == last:
            result = _node(neighbour, result)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            result = _node(result, neighbour)
        position, last = position >> 1, last >> 1
    return result if last == 0 else None
