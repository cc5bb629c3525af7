"""Every setting of the running system: one table, read from the environment first, then overridden by flags.

The table is ``settings_table``; ``Settings`` is what the rest of the command line sees. A wrong value is refused at start in one line that names the setting, the value and what is allowed (exit code 2). An empty value counts as
not set, since task definitions and compose files cannot unset a variable.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

import click

from llm_audit.cli.kinds import Address, Origin
from llm_audit.cli.settings_table import DEFAULT_TABLE, SETTINGS, Setting


class SettingError(click.ClickException):
    """A setting that cannot be used, or a machine that does not offer what it asks for; exit code 2."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Settings:
    """What every command needs to know. Sizes are bytes, durations seconds, paths absolute.

    ``bucket``, ``index``, ``index_writer`` and ``journal_dir`` are resolved: their defaults follow from others.
    """

    bucket: str
    """A URL: ``s3://name`` or ``file:///folder``."""
    prefix: str
    aws_region: str | None
    aws_endpoint_url: str | None
    body_preview: int
    content: str
    data_dir: Path
    journal_dir: Path
    journal_max_bytes: int
    when_full: str
    durability: str
    index: str
    """``sqlite`` or ``dynamodb://TABLE``."""
    index_writer: str
    listen: Address
    upstream: Origin
    console: Address | str
    """``off`` where there is none; see ``console_address``."""
    console_hosts: tuple[str, ...]
    metrics: str
    """``on`` or ``off``; see ``is_scraped``."""
    metrics_token: str | None
    workers: int
    max_body_bytes: int
    upstream_timeout: float
    client_timeout: float
    max_duration: float
    drain_timeout: float
    tls_cert: Path | None
    tls_key: Path | None
    api_keys: Path | None
    gateway_secret: str | None
    extra_paths: tuple[str, ...]
    digests: str
    """``on`` or ``off``."""
    digest_interval: float
    digest_key: str
    """A path, or ``kms:KEY``."""
    cloudwatch_metrics: str
    """``on`` or ``off``."""
    service: str

    @property
    def is_s3(self) -> bool:
        """True where records go to S3, False where they go to a folder."""
        return self.bucket.startswith("s3://")

    @property
    def objects_dir(self) -> Path | None:
        """The folder that holds the objects (``<prefix>/YYYY/…`` below it), or None with S3."""
        return None if self.is_s3 else Path(unquote(urlsplit(self.bucket).path))

    @property
    def index_path(self) -> Path:
        """The embedded index's file."""
        return self.data_dir / "index" / "audit.sqlite3"

    @property
    def console_address(self) -> Address | None:
        """Where the console listens, or None where it does not."""
        return self.console if isinstance(self.console, Address) else None

    @property
    def is_scraped(self) -> bool:
        """Whether ``/metrics`` is served, which is beside the console."""
        return self.metrics == "on" and self.console_address is not None

    @property
    def quarantine_dir(self) -> Path:
        """Frames and reasons of exchanges that could not become records."""
        return self.data_dir / "quarantine"

    @property
    def digest_public_dir(self) -> Path:
        """The public halves of every key that ever signed digests here."""
        return self.data_dir / "keys" / "public"

    @property
    def makes_digest_key(self) -> bool:
        """True where the key that signs digests is the default, which is made if there is none."""
        return self.digest_key == str(_default_digest_key(self.data_dir))

    @property
    def status_dir(self) -> Path:
        """What each process says of itself, about once a second."""
        return self.data_dir / "status"

    @property
    def ledger_path(self) -> Path:
        """What the shipper has stored and notified; beside the journal that it speaks of."""
        return self.journal_dir / "ledger.sqlite3"

    @property
    def usage_dir(self) -> Path:
        """Counters of the usage plan, shared by the workers."""
        return self.data_dir / "usage"

    def with_upstream(self, upstream: Origin) -> Settings:
        """Give the same settings with another model server."""
        return replace(self, upstream=upstream)

    def environment(self) -> dict[str, str]:
        """Give the variables from which ``load_settings`` makes these same settings again, for child processes."""
        values = ((setting, getattr(self, setting.field)) for setting in SETTINGS)
        return {
            setting.env: setting.kind.render(value) for setting, value in values if value not in (None, ())
        }


assert [setting.field for setting in SETTINGS] == [field.name for field in fields(Settings)]


def load_settings(
    environ: Mapping[str, str],
    flags: Mapping[str, str | None] | None = None,
    defaults: Mapping[str, str] | None = None,
) -> Settings:
    """Read every setting: a flag overrides the environment, which overrides the default.

    ``flags`` and ``defaults`` are keyed by field name. Raises SettingError for the first wrong value.
    """
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        flag = (flags or {}).get(setting.field)
        text = flag or environ.get(setting.env) or (defaults or {}).get(setting.field, setting.default)
        values[setting.field] = None if text is None else _parse(setting, text, from_flag=bool(flag))
    return _resolve(values)


def _default_digest_key(data_dir: Path) -> Path:
    return data_dir / "keys" / "digest.pem"


def refuse(field: str, came: object, expected: str) -> NoReturn:
    """Raise SettingError for one setting, by its field name: what came, and what was expected."""
    setting = next(setting for setting in SETTINGS if setting.field == field)
    shown = "a value (not shown, it is a secret)" if setting.is_secret else repr(str(came))
    raise SettingError(f"{setting.env} (flag {setting.flag}): got {shown}, expected {expected}.")


def _parse(setting: Setting, text: str, *, from_flag: bool) -> Any:
    source = f"{setting.flag} ({setting.env})" if from_flag else f"{setting.env} (flag {setting.flag})"
    shown = "a value (not shown, it is a secret)" if setting.is_secret else repr(text)
    if setting.is_secret and text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="ascii").strip()
        except (OSError, UnicodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
            raise SettingError(f"{source}: cannot read the file {text[1:]!r}: {reason}.") from None
    try:
        return setting.kind.parse(text)
    except ValueError:
        raise SettingError(f"{source}: got {shown}, expected {setting.kind.allowed}.") from None


def _resolve(values: dict[str, Any]) -> Settings:
    """Fill the defaults that follow from other settings, and refuse combinations that cannot work."""
    data_dir: Path = values["data_dir"]
    values["journal_dir"] = values["journal_dir"] or data_dir / "journal"
    values["bucket"] = values["bucket"] or (data_dir / "objects").as_uri()
    values["extra_paths"] = values["extra_paths"] or ()
    values["console_hosts"] = values["console_hosts"] or ()
    values["digest_key"] = values["digest_key"] or str(_default_digest_key(data_dir))
    if values["prefix"].split("/")[0] == "digests":
        refuse("prefix", values["prefix"], "another first word: digests lie there")
    is_s3 = values["bucket"].startswith("s3://")
    fills_embedded = not is_s3 or values["index_writer"] == "shipper"
    values["index"] = values["index"] or ("sqlite" if fills_embedded else f"dynamodb://{DEFAULT_TABLE}")
    values["index_writer"] = values["index_writer"] or (
        "shipper" if values["index"] == "sqlite" else "lambda"
    )
    if values["index"] == "sqlite" and values["index_writer"] == "lambda":
        refuse(
            "index_writer",
            "lambda",
            "`shipper` with AUDIT_INDEX=sqlite: a Lambda cannot reach this machine's file",
        )
    if values["index"] != "sqlite" and values["index_writer"] == "shipper":
        refuse("index_writer", "shipper", "`lambda` with DynamoDB: the ingestion Lambda fills it")
    if values["index"] != "sqlite" and not is_s3:
        refuse(
            "index", values["index"], "`sqlite` where records are kept in a folder (set AUDIT_BUCKET to S3)"
        )
    if (values["tls_cert"] is None) != (values["tls_key"] is None):
        missing = "tls_cert" if values["tls_cert"] is None else "tls_key"
        refuse(missing, "", "a file: AUDIT_TLS_CERT and AUDIT_TLS_KEY go together")
    return Settings(**values)


READING = ("bucket", "prefix", "aws_region", "aws_endpoint_url", "data_dir", "index")
"""What commands that read records and index need."""

ALL = tuple(setting.field for setting in SETTINGS)
"""What ``serve`` needs."""

_Function = Callable[..., Any]


def with_settings(*names: str, **defaults: str) -> Callable[[_Function], _Function]:
    """Decorate a click command: adds the flags of the named settings, passes ``settings`` (a ``Settings``).

    ``defaults`` replace the table's for this command. Place it below ``@click.command``.
    """

    def decorate(function: _Function) -> _Function:
        @wraps(function)
        def run(*args: Any, flags: dict[str, str | None], **kwargs: Any) -> Any:
            return function(*args, settings=load_settings(os.environ, flags, defaults), **kwargs)

        return with_setting_flags(*names, **defaults)(run)

    return decorate


def with_setting_flags(*names: str, **defaults: str) -> Callable[[_Function], _Function]:
    """Decorate a click command that loads its settings itself: passes ``flags``, as ``load_settings`` takes them."""
    chosen = [setting for setting in SETTINGS if setting.field in names]
    assert len(chosen) == len(names), set(names) - {setting.field for setting in chosen}

    def decorate(function: _Function) -> _Function:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            flags = {setting.field: kwargs.pop(setting.field) for setting in chosen}
            return function(*args, flags=flags, **kwargs)

        wrapped: _Function = run
        for setting in reversed(chosen):
            wrapped = _option(setting, defaults.get(setting.field, setting.default))(wrapped)
        return wrapped

    return decorate


def _option(setting: Setting, default: str | None) -> Callable[[_Function], _Function]:
    shown = (default or setting.default_text or "").replace("`", "")
    words = setting.meaning.replace("`", "")
    text = f"{words[0].upper()}{words[1:]}. [{setting.env}; default: {shown}]"
    return click.option(
        setting.flag, setting.field, metavar=setting.kind.name.upper(), default=None, help=text
    )
