"""The key that signs digests, in a file; and the folder of public keys beside it, where old ones stay.

The shipper reads the private key and never needs to write it: in a deployment that takes itself seriously the file belongs to
another user, and is readable by the shipper's group. Public keys are named by their ids.
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from llm_audit.integrity.signatures import (
    KeyUnusableError,
    PrivateKey,
    PublicKey,
    new_private_key,
    read_private_key,
    read_public_key,
)
from llm_audit.ship.folders import private_folder

_OTHERS = stat.S_IRWXO


class KeyFileError(Exception):
    """A key's file cannot be read or written; the message says what to do."""


def read_key_file(path: Path) -> PrivateKey:
    """Read the private key. Raises KeyFileError, also where everybody on the machine can read it."""
    try:
        if path.stat().st_mode & _OTHERS:
            raise KeyFileError(
                f"{path} can be read by everybody on this machine: chmod o-rwx it, or make a new key"
            )
        return read_private_key(path.read_bytes())
    except OSError as error:
        raise KeyFileError(
            f"{path} cannot be read ({error.strerror}): `llm-audit digest-keys new` makes a key, AUDIT_DIGEST_KEY names it"
        ) from None
    except KeyUnusableError as error:
        raise KeyFileError(f"{path}: {error}") from None


def make_key_file(path: Path, public_folder: Path) -> PublicKey:
    """Make a key (0600), its public half kept first. Raises KeyFileError where the file exists: see ``replace_key_file``."""
    key = new_private_key()
    try:
        keep_public_key(public_folder, key.public)
        private_folder(path.parent)
        temporary = _written(path, key.pem())
        try:
            os.link(temporary, path)
        finally:
            temporary.unlink()
    except FileExistsError:
        raise KeyFileError(f"{path} exists: `llm-audit digest-keys rotate` replaces the key in it") from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written ({error.strerror})") from None
    return key.public


def replace_key_file(path: Path, public_folder: Path) -> tuple[PublicKey, PublicKey]:
    """Put a new key in the place of the old, whose public half is kept; give old and new. Raises KeyFileError."""
    old, new = read_key_file(path).public, new_private_key()
    try:
        keep_public_key(public_folder, old)
        keep_public_key(public_folder, new.public)
        _written(path, new.pem()).replace(path)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be replaced ({error.strerror})") from None
    return old, new.public


def keep_public_key(folder: Path, key: PublicKey) -> None:
    """Keep a public key under its id, if it is not there. Raises OSError."""
    path = folder / f"{key.id}.pem"
    if not path.exists():
        private_folder(folder)
        _written(path, key.pem.encode("ascii")).replace(path)


def public_keys(paths: Iterator[Path] | list[Path]) -> list[PublicKey]:
    """Read public keys from files, and from the ``.pem`` files of folders. Raises KeyFileError."""
    keys = []
    for given in paths:
        for path in sorted(given.glob("*.pem")) if given.is_dir() else [given]:
            try:
                keys.append(read_public_key(path.read_bytes()))
            except OSError as error:
                raise KeyFileError(f"{path} cannot be read ({error.strerror})") from None
            except KeyUnusableError as error:
                raise KeyFileError(f"{path}: {error}") from None
    return keys


def _written(final: Path, data: bytes) -> Path:
    """Write a temporary file beside another, durably, readable by its owner alone; give its path."""
    path = final.with_name(f".{final.name}.{uuid.uuid4().hex}")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
    return path
