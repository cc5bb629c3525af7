"""Receipts: that one record is among those that a signed digest lists, in a form that needs nothing but the public key.

A receipt is the digest's head with its signature, the record's entry, and the Merkle inclusion proof that joins the two
(RFC 9162, section 2.1.3). Pure. The format is specified in docs/evidence.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llm_audit.integrity.canonical import NotCanonicalError, canonical, read_canonical
from llm_audit.integrity.digests import (
    Digest,
    DigestUnreadableError,
    Entry,
    Head,
    entry_bytes,
    read_entry,
    read_head,
)
from llm_audit.integrity.merkle import inclusion_path, leaf_hash, root_from_path
from llm_audit.integrity.signatures import PublicKey, Signature, read_signature

TYPE = "llm-audit-receipt/1"
_MEMBERS = {"entry", "head", "index", "path", "signature", "type"}


class ReceiptError(ValueError):
    """A receipt that proves nothing; the message says why."""


class Receipt(NamedTuple):
    """A receipt that was read."""

    head: Head
    signature: Signature
    entry: Entry
    leaf: int
    """Which of the digest's entries it is, from 0."""
    path: list[bytes]

    def encode(self) -> bytes:
        """Write it in canonical form."""
        return canonical(
            {
                "entry": dict(self.entry._asdict()),
                "head": self.head.document(),
                "index": self.leaf,
                "path": [one.hex() for one in self.path],
                "signature": self.signature.document(),
                "type": TYPE,
            }
        )


def make_receipt(digest: Digest, key: str) -> Receipt:
    """Make the receipt of the record that a digest lists under this key. Raises ReceiptError where it does not."""
    index = next((number for number, entry in enumerate(digest.entries) if entry.key == key), None)
    if index is None:
        raise ReceiptError(f"digest {digest.head.number} of {digest.head.writer} does not list {key}")
    leaves = [leaf_hash(entry_bytes(entry)) for entry in digest.entries]
    return Receipt(digest.head, digest.signature, digest.entries[index], index, inclusion_path(leaves, index))


def read_receipt(data: bytes) -> Receipt:
    """Read a receipt. Raises ReceiptError."""
    try:
        value: Any = read_canonical(data.rstrip(b"\n"))
    except NotCanonicalError as error:
        raise ReceiptError(str(error)) from None
    if not isinstance(value, dict) or value.get("type") != TYPE:
        raise ReceiptError(f"it is no receipt that this version knows: expected type {TYPE!r}")
    index, path = value.get("index"), value.get("path")
    if value.keys() != _MEMBERS or type(index) is not int or not isinstance(path, list):
        raise ReceiptError(f"it is no receipt: expected the members {', '.join(sorted(_MEMBERS))}")
    try:
        return Receipt(
            read_head(value["head"]),
            read_signature(value["signature"]),
            read_entry(value["entry"]),
            index,
            [bytes.fromhex(one) for one in path],
        )
    except (DigestUnreadableError, ValueError, TypeError, KeyError) as error:
        raise ReceiptError(f"it is no receipt: {error}") from None


def check_receipt(receipt: Receipt, key: PublicKey) -> None:
    """Check it against the public key. Raises ReceiptError."""
    if receipt.signature.key_id != key.id:
        raise ReceiptError(f"it is signed by key {receipt.signature.key_id}, not by the one given, {key.id}")
    if not key.has_signed(canonical(receipt.head.document()), receipt.signature):
        raise ReceiptError("its head is not what the key signed")
    leaf = leaf_hash(entry_bytes(receipt.entry))
    leads_to = root_from_path(leaf, receipt.leaf, receipt.head.entries, receipt.path)
    if leads_to is None or leads_to.hex() != receipt.head.root_sha256:
        raise ReceiptError(
            "its entry is not among those that the head signs (the proof leads to another root)"
        )
