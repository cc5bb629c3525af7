"""Keys and signatures, held against RFC 8032's vectors and another library's spelling of them."""

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from llm_audit.integrity.signatures import (
    ECDSA_P256,
    KeyUnusableError,
    PrivateKey,
    Signature,
    new_private_key,
    public_key_of_der,
    read_private_key,
    read_public_key,
    read_signature,
)

DER, PEM = serialization.Encoding.DER, serialization.Encoding.PEM
INFO = serialization.PublicFormat.SubjectPublicKeyInfo


def test_rfc_8032s_second_vector_is_signed_as_the_rfc_says():
    secret = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    key = PrivateKey(Ed25519PrivateKey.from_private_bytes(secret))
    assert key.sign(b"\x72").value.hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_a_keys_id_is_the_digest_of_its_public_half():
    key = new_private_key()
    der = serialization.load_pem_public_key(key.public.pem.encode()).public_bytes(DER, INFO)
    assert key.public.id == hashlib.sha256(der).hexdigest() == public_key_of_der(der).id


def test_a_key_comes_back_from_its_pem():
    key = new_private_key()
    again = read_private_key(key.pem())
    assert again.sign(b"x") == key.sign(b"x")
    assert read_public_key(key.public.pem.encode()).has_signed(b"x", key.sign(b"x"))


def test_a_signature_of_other_bytes_another_key_or_another_algorithm_is_none():
    key = new_private_key()
    good = key.sign(b"x")
    assert key.public.has_signed(b"x", good)
    assert not key.public.has_signed(b"y", good)
    assert not new_private_key().public.has_signed(b"x", good)
    assert not key.public.has_signed(b"x", good._replace(algorithm=ECDSA_P256))
    assert not key.public.has_signed(b"x", good._replace(value=b""))


def test_ecdsa_on_p256_is_checked_too():
    private = ec.generate_private_key(ec.SECP256R1())
    key = read_public_key(private.public_key().public_bytes(PEM, INFO))
    good = Signature(ECDSA_P256, key.id, private.sign(b"x", ec.ECDSA(hashes.SHA256())))
    assert key.has_signed(b"x", good)
    assert not key.has_signed(b"y", good)
    assert not key.has_signed(b"x", good._replace(value=good.value[:-1]))


@pytest.mark.parametrize(
    "make", [lambda: ec.generate_private_key(ec.SECP384R1()), lambda: rsa.generate_private_key(65537, 2048)]
)
def test_keys_of_other_kinds_are_refused(make):
    private = make()
    with pytest.raises(KeyUnusableError, match="expected Ed25519 or an elliptic curve key on P-256"):
        read_public_key(private.public_key().public_bytes(PEM, INFO))
    pem = private.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with pytest.raises(KeyUnusableError, match="expected an Ed25519 key"):
        read_private_key(pem)


@pytest.mark.parametrize("read", [read_public_key, read_private_key, public_key_of_der])
def test_what_is_no_key_is_refused(read):
    with pytest.raises(KeyUnusableError):
        read(b"hello")


def test_a_signature_reads_back_from_its_document():
    signature = new_private_key().sign(b"x")
    assert read_signature(signature.document()) == signature


@pytest.mark.parametrize(
    "document",
    [None, {}, {"algorithm": "Ed25519", "keyId": "x", "value": "not base64!"}, {"algorithm": 1, "keyId": "", "value": ""},
     {"algorithm": "Ed25519", "keyId": "x", "value": "", "more": 1}],
)  # fmt: skip
def test_what_is_no_signature_is_refused(document):
    with pytest.raises(ValueError, match="its signature is none"):
        read_signature(document)
