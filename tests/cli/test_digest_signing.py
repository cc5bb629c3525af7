"""From the setting to a signature: files, and AWS KMS as the local AWS has it."""

import pytest

from aws_fixtures import aws, name  # noqa: F401 - fixtures
from llm_audit.cli.digest_signing import digest_config, open_key, public_key_in_use
from llm_audit.cli.settings import load_settings
from llm_audit.integrity.signatures import ECDSA_P256, ED25519, read_public_key
from llm_audit.ship.digests import SigningError


def settings(tmp_path, **environ):
    return load_settings({"AUDIT_DATA_DIR": str(tmp_path), **environ})


def kept(settings):
    return [read_public_key(path.read_bytes()) for path in settings.digest_public_dir.glob("*.pem")]


def test_the_default_key_is_made_at_the_first_start_and_used_ever_after(tmp_path):
    first, again = open_key(settings(tmp_path))(b"x"), open_key(settings(tmp_path))(b"x")
    assert first == again
    (public,) = kept(settings(tmp_path))
    assert public.has_signed(b"x", first)
    assert not public.has_signed(b"y", first)


def test_a_key_that_was_asked_for_by_name_is_never_made(tmp_path):
    named = settings(tmp_path, AUDIT_DIGEST_KEY=str(tmp_path / "mine.pem"))
    with pytest.raises(SigningError, match="digest-keys new"):
        open_key(named)
    assert not (tmp_path / "mine.pem").exists()


def test_digests_can_be_switched_off(tmp_path):
    assert digest_config(settings(tmp_path, AUDIT_DIGESTS="off")) is None
    assert digest_config(settings(tmp_path)).interval_s == 3600.0


@pytest.mark.parametrize(
    ("spec", "algorithm"), [("ECC_NIST_P256", ECDSA_P256), ("ECC_NIST_EDWARDS25519", ED25519)]
)
def test_a_key_in_kms_signs_what_its_public_half_checks(aws, tmp_path, spec, algorithm):  # noqa: F811 - fixture
    key = aws.kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    by_kms = settings(
        tmp_path, AUDIT_DIGEST_KEY=f"kms:{key}", AWS_REGION=aws.region, AWS_ENDPOINT_URL=aws.endpoint_url
    )

    signature = open_key(by_kms)(b"x" * 1000)

    (public,) = kept(by_kms)
    assert public.id == public_key_in_use(by_kms).id == signature.key_id
    assert public.algorithm == signature.algorithm == algorithm
    assert public.has_signed(b"x" * 1000, signature)


def test_a_key_that_kms_does_not_have_is_said(aws, tmp_path):  # noqa: F811 - fixture
    by_kms = settings(
        tmp_path, AUDIT_DIGEST_KEY="kms:alias/none", AWS_REGION=aws.region, AWS_ENDPOINT_URL=aws.endpoint_url
    )
    with pytest.raises(SigningError, match="alias/none"):
        open_key(by_kms)


def test_a_key_in_kms_that_cannot_be_used_is_said(aws, tmp_path):  # noqa: F811 - fixture
    key = aws.kms.create_key(KeySpec="RSA_2048", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    by_kms = settings(
        tmp_path, AUDIT_DIGEST_KEY=f"kms:{key}", AWS_REGION=aws.region, AWS_ENDPOINT_URL=aws.endpoint_url
    )
    with pytest.raises(SigningError, match="expected Ed25519 or an elliptic curve key"):
        open_key(by_kms)
