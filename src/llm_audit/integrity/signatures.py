"""Signatures, and the public keys that they are checked with. Pure: keys come and go as PEM text.

A key's id is the SHA-256 of its SubjectPublicKeyInfo (RFC 5280, section 4.1), so it says which key is meant and
nobody hands ids out. Two algorithms: Ed25519 (RFC 8032), and ECDSA over P-256 with SHA-256 (FIPS 186-5, the
signature in DER), which AWS KMS offers in every region.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519 = "Ed25519"
ECDSA_P256 = "ECDSA_P256_SHA256"


class KeyUnusableError(ValueError):
    """A key that cannot be used; the message says what came and what was expected."""


class Signature(NamedTuple):
    """A signature: by which algorithm, by which key (its id), and its bytes."""

    algorithm: str
    key_id: str
    value: bytes

    def document(self) -> dict[str, str]:
        """Give it with the names of its JSON form."""
        return {
            "algorithm": self.algorithm,
            "keyId": self.key_id,
            "value": base64.b64encode(self.value).decode("ascii"),
        }


def read_signature(document: Any) -> Signature:
    """Read a signature's JSON form. Raises ValueError."""
    match document:
        case {"algorithm": str(algorithm), "keyId": str(key_id), "value": str(value)} if len(document) == 3:
            try:
                return Signature(algorithm, key_id, base64.b64decode(value, validate=True))
            except (binascii.Error, ValueError):
                pass
    raise ValueError("its signature is none: expected algorithm, keyId and value (base64)")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that signatures are checked with."""

    id: str
    algorithm: str
    pem: str
    _key: Ed25519PublicKey | ec.EllipticCurvePublicKey

    def has_signed(self, data: bytes, signature: Signature) -> bool:
        """Tell whether this key signed these bytes."""
        if signature.key_id != self.id or signature.algorithm != self.algorithm:
            return False
        try:
            if isinstance(self._key, Ed25519PublicKey):
                self._key.verify(signature.value, data)
            else:
                self._key.verify(signature.value, data, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


def read_public_key(pem: bytes) -> PublicKey:
    """Read a public key from PEM. Raises KeyUnusableError."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyUnusableError("it is no public key in PEM form (-----BEGIN PUBLIC KEY-----)") from None
    return _public_key(key)


def public_key_of_der(der: bytes) -> PublicKey:
    """Read a SubjectPublicKeyInfo, as AWS KMS gives it. Raises KeyUnusableError."""
    try:
        key = serialization.load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyUnusableError("it is no SubjectPublicKeyInfo in DER form") from None
    return _public_key(key)


def _public_key(key: object) -> PublicKey:
    if isinstance(key, Ed25519PublicKey):
        algorithm = ED25519
    elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        algorithm = ECDSA_P256
    else:
        raise KeyUnusableError(
            f"it is a {type(key).__name__.lstrip('_')}, expected Ed25519 or an elliptic curve key on P-256"
        )
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    der = key.public_bytes(serialization.Encoding.DER, form)
    pem = key.public_bytes(serialization.Encoding.PEM, form).decode("ascii")
    return PublicKey(sha256(der).hexdigest(), algorithm, pem, key)


class PrivateKey:
    """An Ed25519 key that signs."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = _public_key(key.public_key())

    def sign(self, data: bytes) -> Signature:
        """Sign bytes."""
        return Signature(ED25519, self.public.id, self._key.sign(data))

    def pem(self) -> bytes:
        """Give it as PEM (PKCS #8, not encrypted): whoever has these bytes can sign."""
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def new_private_key() -> PrivateKey:
    """Make a key."""
    return PrivateKey(Ed25519PrivateKey.generate())


def read_private_key(pem: bytes) -> PrivateKey:
    """Read a key from PEM. Raises KeyUnusableError."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyUnusableError("it is no private key in PEM form without a password") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusableError(
            f"it is a {type(key).__name__.lstrip('_')}, expected an Ed25519 key as `llm-audit digest-keys new` makes"
        )
    return PrivateKey(key)
