"""AWS credentials for requests that we have signed ourselves (``s3_puts``), found where obstore finds its own.

Static keys are read here; those of a role (ECS task, instance, web identity) are fetched and renewed by botocore,
where it is installed (``pip install central-llm-audit[aws]``; the container image has it).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

from llm_audit.store.aws import S3Settings

_LOG = logging.getLogger(__name__)


class Credentials(NamedTuple):
    """What signs a request; shown nowhere."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        """Say nothing of it."""
        return "Credentials(...)"


Signer = Callable[[], Credentials | None]
"""Gives valid credentials; None where there are none just now. May take a moment when a role's have to be renewed."""


def find_signer(settings: S3Settings, environ: Mapping[str, str]) -> Signer:
    """Give a signer: the settings' static keys, else the environment's, else a role's."""
    keys = settings.static_keys
    if keys:
        found = Credentials(keys["access_key_id"], keys["secret_access_key"], keys.get("session_token"))
        return lambda: found
    key_id, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if key_id and secret:
        of_environment = Credentials(key_id, secret, environ.get("AWS_SESSION_TOKEN") or None)
        return lambda: of_environment
    return _of_a_role()


def _of_a_role() -> Signer:
    try:
        import botocore.session  # noqa: PLC0415 - a quarter of a second that static keys need not pay
    except ImportError:
        return lambda: None
    session = botocore.session.Session()

    def sign() -> Credentials | None:
        try:
            found = session.get_credentials()
            frozen = None if found is None else found.get_frozen_credentials()
        except Exception as error:  # noqa: BLE001 - botocore raises RuntimeError, too, where a role's have expired
            _LOG.warning("no AWS credentials for quick puts (%s): slower ones go on", type(error).__name__)
            return None
        if frozen is None or not frozen.access_key or not frozen.secret_key:
            return None
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    return sign
