"""Kinds of setting: how each is read from text, written back, and described when a value is refused. Pure.

A kind is a value; ``settings`` has one table of them. Every parser raises ValueError with no message of its own:
what is allowed is said once, by the kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llm_audit.proxy.paths import extra_route

_SIZE_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_DURATION_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER_WITH_UNIT = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()=-]+(?:/[A-Za-z0-9!_.*'()=-]+)*", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", re.ASCII)
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9]+)?", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{2,32}", re.ASCII)
_TABLE = re.compile(r"[A-Za-z0-9_.-]{3,255}", re.ASCII)
_SERVICE = re.compile(r"[A-Za-z0-9._/-]{1,128}", re.ASCII)
_KMS_KEY = re.compile(r"kms:[A-Za-z0-9:/_-]{1,2048}", re.ASCII)
_SECRET = re.compile(r"[\x21-\x3f\x41-\x7e][\x21-\x7e]{15,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens. Port 0 lets the kernel choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Origin:
    """A server that calls go to: scheme, host and port (RFC 6454), never a path."""

    scheme: str
    host: str
    port: int

    @property
    def is_tls(self) -> bool:
        """True for ``https``."""
        return self.scheme == "https"

    def __str__(self) -> str:
        return f"{self.scheme}://{Address(self.host, self.port)}"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of setting: ``parse`` raises ValueError; ``allowed`` completes "expected …"."""

    name: str
    allowed: str
    parse: Callable[[str], Any]
    render: Callable[[Any], str] = str


def _matched(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError
    return text


def _host(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        return _matched(_IPV6, text[1:-1])
    return _matched(_HOST, text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise ValueError
    return int(text)


def parse_address(text: str) -> Address:
    """``host:port``; an IPv6 host stands in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError
    return Address(_host(host), _port(port))


def parse_origin(text: str) -> Origin:
    """``http://host[:port]`` or ``https://…``, without user, path, query or fragment."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError
    has_port = bool(re.search(r":\d+$", parts.netloc))
    default = 443 if parts.scheme == "https" else 80
    address = parse_address(parts.netloc if has_port else f"{parts.netloc}:{default}")
    if address.port == 0:
        raise ValueError
    return Origin(parts.scheme, address.host, address.port)


def parse_size(text: str) -> int:
    """Bytes, with an optional unit: ``65536``, ``64MiB``, ``10 GB``."""
    number, unit = _matched_unit(text)
    if unit not in _SIZE_UNITS:
        raise ValueError
    return int(number * _SIZE_UNITS[unit])


def parse_duration(text: str) -> float:
    """Seconds, with an optional unit: ``30``, ``30s``, ``500ms``, ``10m``, ``1h``."""
    number, unit = _matched_unit(text)
    if unit not in _DURATION_UNITS:
        raise ValueError
    return number * _DURATION_UNITS[unit]


def _matched_unit(text: str) -> tuple[float, str]:
    match = _NUMBER_WITH_UNIT.fullmatch(text)
    if not match:
        raise ValueError
    return float(match[1]), match[2].lower()


def size(at_least: int, at_least_text: str) -> Kind:
    """Give a kind for a number of bytes with a lower bound."""

    def parse(text: str) -> int:
        value = parse_size(text)
        if value < at_least:
            raise ValueError
        return value

    return Kind("size", f"bytes or a size such as 64MiB or 10GiB, at least {at_least_text}", parse)


def duration(at_least: float, at_most: float) -> Kind:
    """Give a kind for a duration in seconds between two bounds."""

    def parse(text: str) -> float:
        value = parse_duration(text)
        if not at_least <= value <= at_most:
            raise ValueError
        return value

    bounds = f"from {at_least:g}s to {at_most:g}s"
    return Kind("duration", f"seconds or a duration such as 30s, 10m or 1h, {bounds}", parse, repr)


def integer(at_least: int, at_most: int) -> Kind:
    """Give a kind for a whole number between two bounds."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and at_least <= int(text) <= at_most):
            raise ValueError
        return int(text)

    return Kind("number", f"a whole number from {at_least} to {at_most}", parse)


def choice(*values: str) -> Kind:
    """Give a kind for one of a few words."""

    def parse(text: str) -> str:
        if text not in values:
            raise ValueError
        return text

    return Kind("choice", " or ".join(f"`{value}`" for value in values), parse)


def _parse_bucket(text: str) -> str:
    if text.startswith("/"):
        text = Path(text).as_uri()
    if text.startswith("file:"):
        parts = urlsplit(text)
        if (
            parts.netloc
            or not parts.path.startswith("/")
            or parts.path == "/"
            or parts.query
            or parts.fragment
        ):
            raise ValueError
        return text
    return "s3://" + _matched(_BUCKET, text.removeprefix("s3://"))


def _parse_prefix(text: str) -> str:
    if len(text) > 256 or not set(_matched(_PREFIX, text).split("/")).isdisjoint({".", ".."}):
        raise ValueError
    return text


def _parse_index(text: str) -> str:
    if text.startswith("dynamodb://"):
        return "dynamodb://" + _matched(_TABLE, text.removeprefix("dynamodb://"))
    if text != "sqlite":
        raise ValueError
    return text


def _parse_path(text: str) -> Path:
    if "\0" in text:
        raise ValueError
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:  # ~name of a user that does not exist
        raise ValueError from None


def _parse_digest_key(text: str) -> str:
    return _matched(_KMS_KEY, text) if text.startswith("kms:") else str(_parse_path(text))


def _parse_extra_paths(text: str) -> tuple[str, ...]:
    entries = tuple(" ".join(entry.split()) for entry in text.split(","))
    for entry in entries:
        extra_route(entry)
    return entries


OFF = "off"
"""What a server's address says where it is not to listen at all."""


def _parse_console(text: str) -> Address | str:
    return OFF if text == OFF else parse_address(text)


def _parse_hosts(text: str) -> tuple[str, ...]:
    return tuple(_host(host.strip()).lower() for host in text.split(","))


def _render_hosts(hosts: tuple[str, ...]) -> str:
    return ",".join(f"[{host}]" if ":" in host else host for host in hosts)


ADDRESS = Kind("address", "host:port, such as 127.0.0.1:8000 or [::1]:8000", parse_address)
CONSOLE = Kind("address", "host:port, such as 127.0.0.1:8080 or [::1]:8080, or `off`", _parse_console)
HOSTS = Kind(
    "hosts",
    "host names or addresses separated by commas, without ports, such as audit.example.com,[::1]",
    _parse_hosts,
    _render_hosts,
)
ORIGIN = Kind("URL", "http://host:port or https://host:port, without a path", parse_origin)
ENDPOINT = Kind(
    "URL", "http://host:port or https://host:port, without a path", lambda text: str(parse_origin(text))
)
BUCKET = Kind(
    "bucket", "a bucket name, s3://bucket or file:///folder (a prefix goes to AUDIT_PREFIX)", _parse_bucket
)
PREFIX = Kind(
    "prefix",
    "words joined by single slashes, such as logs or audit/logs, up to 256 characters",
    _parse_prefix,
)
DIGEST_KEY = Kind(
    "key",
    "a path, or kms: with the id, ARN or alias of a key in AWS KMS, such as kms:alias/llm-audit-digests",
    _parse_digest_key,
)
INDEX = Kind("index", "`sqlite` or dynamodb://TABLE", _parse_index)
PATH = Kind("path", "a path", _parse_path)
REGION = Kind("region", "a region's name, such as eu-central-1", lambda text: _matched(_REGION, text))
SERVICE = Kind(
    "name",
    "1 to 128 letters, digits and ._/- characters",
    lambda text: _matched(_SERVICE, text),
)
SECRET = Kind(
    "secret",
    "16 to 256 printable ASCII characters without spaces and without a leading @, or @FILE to read them from a file",
    lambda text: _matched(_SECRET, text),
)
EXTRA_PATHS = Kind(
    "paths",
    "paths separated by commas, each with a method if it is not POST, such as /v1/custom,GET /v1/items/{id}",
    _parse_extra_paths,
    ",".join,
)
