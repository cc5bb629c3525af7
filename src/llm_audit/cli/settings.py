"""Every setting of the running system: one table, read from the environment first, then overridden by flags.

The table ``SETTINGS`` is the contract's "Environment" section as values; ``Settings`` is what the rest of the
command line sees. ``docs/settings.md`` is generated from the table and compared by a test. A wrong value is refused
at start in one line that names the setting, the value and what is allowed (exit code 2). An empty value counts as
not set, since task definitions and compose files cannot unset a variable.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

import click

from llm_audit.cli import kinds
from llm_audit.cli.kinds import Address, Kind, Origin

DEFAULT_TABLE = "CentralLLMAudit"


class SettingError(click.ClickException):
    """A setting that cannot be used, or a machine that does not offer what it asks for; exit code 2."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name in ``Settings``, its variable, how it is read, and what it means.

    ``default`` is text, read like any other value; None where ``default_text`` says what happens instead.
    """

    field: str
    env: str
    kind: Kind
    default: str | None
    meaning: str
    default_text: str | None = None
    is_secret: bool = False

    @property
    def flag(self) -> str:
        """The flag on every command that uses the setting."""
        return "--" + self.field.replace("_", "-")


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "bucket",
        "AUDIT_BUCKET",
        kinds.BUCKET,
        None,
        "where records are stored: an S3 bucket, or a folder",
        "the folder `objects` in the data dir",
    ),
    Setting("prefix", "AUDIT_PREFIX", kinds.PREFIX, "logs", "what every object's key begins with"),
    Setting("aws_region", "AWS_REGION", kinds.REGION, None, "region of the bucket", "as in every AWS SDK"),
    Setting(
        "aws_endpoint_url",
        "AWS_ENDPOINT_URL",
        kinds.ENDPOINT,
        None,
        "another S3 endpoint than Amazon's; credentials come from where every AWS SDK takes them",
        "as in every AWS SDK",
    ),
    Setting(
        "body_preview",
        "AUDIT_BODY_PREVIEW",
        kinds.integer(0, 65536),
        "2048",
        "characters of `promptPreview` and `responsePreview` in the record",
    ),
    Setting(
        "content",
        "AUDIT_CONTENT",
        kinds.choice("full", "preview", "none"),
        "full",
        "how much of the bodies the record keeps; digests always",
    ),
    Setting(
        "data_dir",
        "AUDIT_DATA_DIR",
        kinds.PATH,
        "./data",
        "journal, embedded objects, embedded index; folders 0700, files 0600",
    ),
    Setting(
        "journal_dir",
        "AUDIT_JOURNAL_DIR",
        kinds.PATH,
        None,
        "the journal's folder",
        "`journal` in the data dir",
    ),
    Setting(
        "journal_max_bytes",
        "AUDIT_JOURNAL_MAX_BYTES",
        kinds.size(2**20, "1MiB"),
        "10GiB",
        "how large the journal may grow while the store is away, all workers together",
    ),
    Setting(
        "when_full",
        "AUDIT_WHEN_FULL",
        kinds.choice("reject", "pass"),
        "reject",
        "what happens to new calls while the journal cannot take them: 503, or passed on unaudited and counted",
    ),
    Setting(
        "durability",
        "AUDIT_DURABILITY",
        kinds.choice("host", "process"),
        "host",
        "what an acknowledged call survives: `host` a power loss (group commit), `process` SIGKILL",
    ),
    Setting(
        "index",
        "AUDIT_INDEX",
        kinds.INDEX,
        None,
        "which index is read",
        f"`sqlite` in the data dir; `dynamodb://{DEFAULT_TABLE}` where the bucket is S3",
    ),
    Setting(
        "index_writer",
        "AUDIT_INDEX_WRITER",
        kinds.choice("shipper", "lambda"),
        None,
        "who fills the index",
        "`shipper` with SQLite, `lambda` with DynamoDB",
    ),
    Setting(
        "listen",
        "AUDIT_LISTEN",
        kinds.ADDRESS,
        "0.0.0.0:8000",
        "where the proxy listens (`127.0.0.1:8000` with `--demo`)",
    ),
    Setting("upstream", "AUDIT_UPSTREAM", kinds.ORIGIN, "http://127.0.0.1:8001", "the model server"),
    Setting("console", "AUDIT_CONSOLE", kinds.ADDRESS, "127.0.0.1:8080", "where console and metrics listen"),
    Setting("workers", "AUDIT_WORKERS", kinds.integer(1, 64), "1", "proxy processes"),
    Setting(
        "max_body_bytes",
        "AUDIT_MAX_BODY_BYTES",
        kinds.size(1, "1"),
        "64MiB",
        "largest request body; a larger one gets 413",
    ),
    Setting(
        "upstream_timeout",
        "AUDIT_UPSTREAM_TIMEOUT",
        kinds.duration(0.1, 86400),
        "600s",
        "without a byte from upstream while we are reading: 504, outcome `upstream_timeout`",
    ),
    Setting(
        "client_timeout",
        "AUDIT_CLIENT_TIMEOUT",
        kinds.duration(0.1, 86400),
        "30s",
        "for the headers; without a byte of the body; without taking a byte while data waits: 408 and close, or reset",
    ),
    Setting(
        "max_duration",
        "AUDIT_MAX_DURATION",
        kinds.duration(0.1, 604800),
        "1h",
        "ends any exchange, however lively",
    ),
    Setting(
        "drain_timeout",
        "AUDIT_DRAIN_TIMEOUT",
        kinds.duration(0, 86400),
        "120s",
        "how long SIGTERM lets calls in flight finish",
    ),
    Setting(
        "tls_cert",
        "AUDIT_TLS_CERT",
        kinds.PATH,
        None,
        "certificate chain (PEM) of the listening port, where no load balancer ends TLS",
        "none",
    ),
    Setting("tls_key", "AUDIT_TLS_KEY", kinds.PATH, None, "private key (PEM) of that certificate", "none"),
    Setting(
        "api_keys",
        "AUDIT_API_KEYS",
        kinds.PATH,
        None,
        "file made by `llm-audit keys add`; calls need a key",
        "none",
    ),
    Setting(
        "gateway_secret",
        "AUDIT_GATEWAY_SECRET",
        kinds.SECRET,
        None,
        "what API Gateway proves itself with in `x-llm-gateway-secret`",
        "none",
        is_secret=True,
    ),
    Setting(
        "extra_paths",
        "AUDIT_EXTRA_PATHS",
        kinds.EXTRA_PATHS,
        None,
        "further audited paths, beyond vLLM's",
        "none",
    ),
)
"""In the order of the contract. The order of ``Settings``' fields is the same (a test holds them together)."""


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
    console: Address
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
    def quarantine_dir(self) -> Path:
        """Frames and reasons of exchanges that could not become records."""
        return self.data_dir / "quarantine"

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
    is_s3 = values["bucket"].startswith("s3://")
    values["index"] = values["index"] or (f"dynamodb://{DEFAULT_TABLE}" if is_s3 else "sqlite")
    values["index_writer"] = values["index_writer"] or (
        "shipper" if values["index"] == "sqlite" else "lambda"
    )
    if values["index"] == "sqlite" and values["index_writer"] == "lambda":
        refuse(
            "index_writer",
            "lambda",
            "`shipper` with AUDIT_INDEX=sqlite: a Lambda cannot reach this machine's file",
        )
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


def with_settings(*names: str, **defaults: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a click command: adds the flags of the named settings, passes ``settings`` (a ``Settings``).

    ``defaults`` replace the table's for this command. Place it below ``@click.command``.
    """
    chosen = [setting for setting in SETTINGS if setting.field in names]
    assert len(chosen) == len(names), set(names) - {setting.field for setting in chosen}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            flags = {setting.field: kwargs.pop(setting.field) for setting in chosen}
            return function(*args, settings=load_settings(os.environ, flags, defaults), **kwargs)

        wrapped: Callable[..., Any] = run
        for setting in reversed(chosen):
            wrapped = _option(setting, defaults.get(setting.field, setting.default))(wrapped)
        return wrapped

    return decorate


def _option(setting: Setting, default: str | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    shown = (default or setting.default_text or "").replace("`", "")
    words = setting.meaning.replace("`", "")
    text = f"{words[0].upper()}{words[1:]}. [{setting.env}; default: {shown}]"
    metavar = setting.kind.name.upper()
    return click.option(setting.flag, setting.field, metavar=metavar, default=None, help=text)
