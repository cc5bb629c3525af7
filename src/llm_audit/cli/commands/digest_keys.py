"""``llm-audit digest-keys``: make, list and replace the key that signs digests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from llm_audit.cli.digest_signing import KMS, public_key_in_use
from llm_audit.cli.reading import ProblemError
from llm_audit.cli.settings import Settings, with_settings
from llm_audit.deploy.errors import DeployError
from llm_audit.integrity.signatures import KeyUnusableError, PublicKey
from llm_audit.ship.key_files import (
    KeyFileError,
    keep_public_key,
    make_key_file,
    public_keys,
    replace_key_file,
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
_SETTINGS = ("digest_key", "data_dir", "aws_region", "aws_endpoint_url")


@click.group(
    epilog="""\b
Example:
  llm-audit digest-keys new --digest-key /etc/llm-audit/digest.pem
  llm-audit digest-keys list
  llm-audit digest-keys rotate"""
)
def command() -> None:
    """Make, list and replace the key that signs digests.

    Give the public half to the auditor, by a way that nobody here controls. Public keys of former keys stay in the data dir's
    keys/public. A key in AWS KMS is made there, and named by AUDIT_DIGEST_KEY=kms:KEY.
    """


@command.command(epilog="\b\nExample:\n  llm-audit digest-keys new --digest-key /etc/llm-audit/digest.pem")
@json_option
@with_settings(*_SETTINGS)
def new(settings: Settings, *, as_json: bool) -> None:
    """Make an Ed25519 key in the file that AUDIT_DIGEST_KEY names (0600), and print its public half.

    Where another user shall own it: make it as that user, and let the shipper's group read it (chmod 0440).
    """
    with _told():
        key = make_key_file(_file(settings), settings.digest_public_dir)
    _say(key, as_json=as_json, is_in_use=True)


@command.command("list", epilog="\b\nExample:\n  llm-audit digest-keys list --json")
@json_option
@with_settings(*_SETTINGS)
def list_keys(settings: Settings, *, as_json: bool) -> None:
    """Print every public key that ever signed here, the one in use first."""
    with _told():
        in_use = public_key_in_use(settings)
        keep_public_key(settings.digest_public_dir, in_use)
        former = [key for key in public_keys([settings.digest_public_dir]) if key.id != in_use.id]
    _say(in_use, as_json=as_json, is_in_use=True)
    for key in former:
        _say(key, as_json=as_json, is_in_use=False)


@command.command(epilog="\b\nExample:\n  llm-audit digest-keys rotate")
@json_option
@with_settings(*_SETTINGS)
def rotate(settings: Settings, *, as_json: bool) -> None:
    """Put a new key in the file's place; the old one's public half is kept, its private half is gone.

    The running shipper signs its next digest with the new key. An old key that signs again later is a finding.
    """
    with _told():
        _, key = replace_key_file(_file(settings), settings.digest_public_dir)
    _say(key, as_json=as_json, is_in_use=True)


def _file(settings: Settings) -> Path:
    if settings.digest_key.startswith(KMS):
        raise click.UsageError(
            f"AUDIT_DIGEST_KEY={settings.digest_key} lives in AWS KMS: make a key of spec ECC_NIST_P256 or "
            "ECC_NIST_EDWARDS25519 there, for signing, and name it in AUDIT_DIGEST_KEY"
        )
    return Path(settings.digest_key)


@contextmanager
def _told() -> Iterator[None]:
    """Turn what can go wrong with keys into one clear line, exit code 1."""
    try:
        yield
    except (KeyFileError, DeployError, KeyUnusableError, OSError) as error:
        raise ProblemError(str(error)) from None


def _say(key: PublicKey, *, as_json: bool, is_in_use: bool) -> None:
    if as_json:
        click.echo(json.dumps({"id": key.id, "algorithm": key.algorithm, "inUse": is_in_use, "pem": key.pem}))
        return
    click.echo(f"{key.id}  {key.algorithm}  {'in use' if is_in_use else 'former'}", err=True)
    click.echo(key.pem, nl=False)
