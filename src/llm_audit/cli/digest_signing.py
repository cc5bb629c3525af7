"""From the setting ``AUDIT_DIGEST_KEY`` to what signs digests: a key in a file, or one in AWS KMS that never leaves it."""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from llm_audit import __version__
from llm_audit.cli.settings import Settings
from llm_audit.deploy.clients import open_aws
from llm_audit.deploy.errors import DeployError, aws_errors
from llm_audit.integrity.digests import Sign
from llm_audit.integrity.signatures import (
    ECDSA_P256,
    KeyUnusableError,
    PublicKey,
    Signature,
    public_key_of_der,
)
from llm_audit.ship.digests import DigestConfig, SigningError
from llm_audit.ship.key_files import KeyFileError, keep_public_key, make_key_file, read_key_file

KMS = "kms:"
"""What a key in AWS KMS begins with in the setting; its id, ARN or alias follows."""


def digest_config(settings: Settings) -> DigestConfig | None:
    """Give how the shipper makes digests; None where they are off."""
    if settings.digests == "off":
        return None
    return DigestConfig(
        interval_s=settings.digest_interval,
        open_key=lambda: open_key(settings),
        made_by=f"llm-audit {__version__}",
    )


def open_key(settings: Settings) -> Sign:
    """Open the key, making the default one if there is none; keep its public half. Raises SigningError."""
    try:
        if settings.digest_key.startswith(KMS):
            key, sign = _open_kms(settings)
        else:
            path = Path(settings.digest_key)
            if settings.makes_digest_key and not path.exists():
                with suppress(
                    KeyFileError
                ):  # somebody made one meanwhile; what is wrong else shows in reading
                    make_key_file(path, settings.digest_public_dir)
            private = read_key_file(path)
            key, sign = private.public, private.sign
        keep_public_key(settings.digest_public_dir, key)
    except (KeyFileError, OSError, KeyUnusableError) as error:
        raise SigningError(str(error)) from None
    except DeployError as error:
        raise SigningError(f"the key {settings.digest_key!r}: {error}") from None
    return sign


def public_key_in_use(settings: Settings) -> PublicKey:
    """Give the public half of the key that signs now. Raises KeyFileError, DeployError, KeyUnusableError."""
    if settings.digest_key.startswith(KMS):
        return _open_kms(settings)[0]
    return read_key_file(Path(settings.digest_key)).public


def _open_kms(settings: Settings) -> tuple[PublicKey, Sign]:
    """Ask KMS for the public key, and give what has it sign. Raises DeployError, KeyUnusableError."""
    key_id = settings.digest_key.removeprefix(KMS)
    with aws_errors():
        endpoint = os.environ.get("AWS_ENDPOINT_URL_KMS") or settings.aws_endpoint_url
        kms = open_aws(settings.aws_region, endpoint).kms
        public = public_key_of_der(kms.get_public_key(KeyId=key_id)["PublicKey"])

    def sign(data: bytes) -> Signature:
        try:
            with aws_errors():
                answer = kms.sign(KeyId=key_id, **_asked(public, data))
        except DeployError as error:
            raise SigningError(f"AWS KMS does not sign with {key_id!r}: {error}") from None
        return Signature(public.algorithm, public.id, answer["Signature"])

    return public, sign


def _asked(public: PublicKey, data: bytes) -> dict[str, Any]:
    """Give what KMS is asked: ECDSA over a digest; Ed25519 over the data itself (RFC 8032's own, not the prehashed one)."""
    if public.algorithm == ECDSA_P256:
        return {
            "Message": sha256(data).digest(),
            "MessageType": "DIGEST",
            "SigningAlgorithm": "ECDSA_SHA_256",
        }
    return {"Message": data, "MessageType": "RAW", "SigningAlgorithm": "ED25519_SHA_512"}
