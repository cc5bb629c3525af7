"""Region, endpoint and credentials of S3, found where every AWS SDK finds them.

obstore itself reads the environment, web identity (EKS), container (ECS) and instance roles, and renews what
expires. It knows nothing of ``~/.aws``; a developer's static keys and region are read from there by us.
"""

from __future__ import annotations

import configparser
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from llm_audit.store.objects import StoreSettingsError

_ROLES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
_ASSUMED = ("role_arn", "sso_session", "sso_start_url", "credential_process", "web_identity_token_file")


@dataclass(frozen=True, slots=True)
class S3Settings:
    """What obstore is told in addition to what it finds itself."""

    region: str | None
    endpoint_url: str | None
    allow_http: bool
    static_keys: dict[str, str] = field(default_factory=dict, repr=False)
    """obstore's names and values; empty where obstore finds credentials itself. Never shown."""


def find_settings(
    environ: Mapping[str, str], *, region: str | None = None, endpoint_url: str | None = None
) -> S3Settings:
    """Look up region, endpoint and keys; the arguments win over the environment, that over ``~/.aws``.

    Raises StoreSettingsError for an ``http://`` endpoint on another machine (records would travel in clear;
    ``AWS_ALLOW_HTTP=true`` allows it) and for a profile whose credentials only an AWS SDK can make.
    """
    profile = _profile(environ)
    endpoint = (
        endpoint_url
        or environ.get("AWS_ENDPOINT_URL_S3")
        or environ.get("AWS_ENDPOINT_URL")
        or profile.get("endpoint_url")
    )
    return S3Settings(
        region=region
        or environ.get("AWS_REGION")
        or environ.get("AWS_DEFAULT_REGION")
        or profile.get("region"),
        endpoint_url=endpoint or None,
        allow_http=endpoint is not None and _may_be_plain(endpoint, environ),
        static_keys=_static_keys(environ, profile),
    )


def _may_be_plain(endpoint: str, environ: Mapping[str, str]) -> bool:
    parts = urlsplit(endpoint)
    if parts.scheme == "https" and parts.hostname:
        return False
    if parts.scheme != "http" or not parts.hostname:
        raise StoreSettingsError(f"S3 endpoint {endpoint!r} is no http(s) URL such as http://127.0.0.1:9000")
    if is_loopback(parts.hostname) or environ.get("AWS_ALLOW_HTTP", "").lower() in {"1", "true"}:
        return True
    raise StoreSettingsError(
        f"S3 endpoint {endpoint} is not encrypted and not on this machine: use https, or set AWS_ALLOW_HTTP=true "
        "where the network between is trusted"
    )


def is_loopback(host: str) -> bool:
    """Tell whether a host's name or address is this machine's own."""
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _static_keys(environ: Mapping[str, str], profile: Mapping[str, str]) -> dict[str, str]:
    """Keys of the profile, where the environment names no other source of credentials (or names the profile)."""
    if not environ.get("AWS_PROFILE") and (
        environ.get("AWS_ACCESS_KEY_ID") or any(environ.get(name) for name in _ROLES)
    ):
        return {}
    if "aws_access_key_id" in profile and "aws_secret_access_key" in profile:
        keys = {
            "access_key_id": profile["aws_access_key_id"],
            "secret_access_key": profile["aws_secret_access_key"],
        }
        if "aws_session_token" in profile:
            keys["session_token"] = profile["aws_session_token"]
        return keys
    if any(name in profile for name in _ASSUMED) and not environ.get("AWS_ACCESS_KEY_ID"):
        name = environ.get("AWS_PROFILE") or "default"
        raise StoreSettingsError(
            f"AWS profile {name!r} needs an AWS SDK to sign in: run "
            f"`eval $(aws configure export-credentials --profile {name} --format env)` first"
        )
    return {}


def _profile(environ: Mapping[str, str]) -> dict[str, str]:
    """Both of the SDKs' files, credentials over config, for ``AWS_PROFILE`` or ``default``."""
    name = environ.get("AWS_PROFILE") or "default"
    found: dict[str, str] = {}
    for variable, file, sections in (
        ("AWS_CONFIG_FILE", "config", (name, f"profile {name}")),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", (name,)),
    ):
        path = Path(environ.get(variable) or Path(environ.get("HOME") or "/nonexistent") / ".aws" / file)
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(path.expanduser(), encoding="utf-8")
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            # The error's text may quote a line of the file, and that line may be a secret.
            raise StoreSettingsError(
                f"{path} cannot be read as an AWS file ({type(error).__name__})"
            ) from None
        for section in sections:
            if parser.has_section(section):
                found.update(parser[section])
    return found
