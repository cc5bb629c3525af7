"""The table of all settings: name, variable, kind, default and meaning of each. Pure; ``settings`` reads by it.

It is the contract's "Environment" section as values; ``docs/settings.md`` is generated from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from llm_audit.cli import kinds
from llm_audit.cli.kinds import Kind

DEFAULT_TABLE = "CentralLLMAudit"
"""The DynamoDB table's name where none is given."""


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

    @property
    def shown_default(self) -> str:
        """The default as documents show it."""
        return (self.default_text or "") if self.default is None else f"`{self.default}`"


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
    Setting(
        "aws_region", "AWS_REGION", kinds.REGION, None, "region of bucket and table", "as in every AWS SDK"
    ),
    Setting(
        "aws_endpoint_url",
        "AWS_ENDPOINT_URL",
        kinds.ENDPOINT,
        None,
        "another endpoint than Amazon's, for S3 and DynamoDB; credentials come from where every AWS SDK takes them",
        "as in every AWS SDK",
    ),
    Setting(
        "body_preview",
        "AUDIT_BODY_PREVIEW",
        kinds.integer(0, 16384),
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
        f"`sqlite` in the data dir; `dynamodb://{DEFAULT_TABLE}` where the bucket is S3 (unless the shipper fills it)",
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
    Setting(
        "console",
        "AUDIT_CONSOLE",
        kinds.CONSOLE,
        "127.0.0.1:8080",
        "where the web console listens, or `off`; off this machine it asks for a login for everything, and needs TLS",
    ),
    Setting(
        "console_hosts",
        "AUDIT_CONSOLE_HOSTS",
        kinds.HOSTS,
        None,
        "names under which the console is served; a request for any other is refused",
        "the listening address, `localhost`, `127.0.0.1` and `[::1]`",
    ),
    Setting(
        "metrics",
        "AUDIT_METRICS",
        kinds.choice("on", "off"),
        "on",
        "whether the console's address serves `/metrics` to Prometheus; traces and metrics by OTLP follow the standard `OTEL_*`",
    ),
    Setting(
        "metrics_token",
        "AUDIT_METRICS_TOKEN",
        kinds.SECRET,
        None,
        "bearer token for `/metrics` from other machines; from this one, none is needed",
        "none: only this machine reads them",
        is_secret=True,
    ),
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
        "for the headers; without a byte of the body, or for all of it and 1 s more for each 500 bytes; without taking a byte "
        "while data waits: 408 and close, or reset",
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
    Setting(
        "digests",
        "AUDIT_DIGESTS",
        kinds.choice("on", "off"),
        "on",
        "whether the shipper lists what it stored in signed digests, which `llm-audit verify` checks",
    ),
    Setting(
        "digest_interval",
        "AUDIT_DIGEST_INTERVAL",
        kinds.duration(1, 86400),
        "1h",
        "how often a digest is written, beside those at start, at stop and whenever 10,000 records are to be listed",
    ),
    Setting(
        "digest_key",
        "AUDIT_DIGEST_KEY",
        kinds.DIGEST_KEY,
        None,
        "what signs digests: a file made by `llm-audit digest-keys new`, or kms:KEY for a key in AWS KMS",
        "the file `keys/digest.pem` in the data dir, made at the first start",
    ),
    Setting(
        "cloudwatch_metrics",
        "AUDIT_CLOUDWATCH_METRICS",
        kinds.choice("on", "off"),
        "off",
        "whether the shipper writes the node's health to standard output once a minute, in CloudWatch's embedded metric format",
    ),
    Setting(
        "service",
        "AUDIT_SERVICE",
        kinds.SERVICE,
        "llm-audit",
        "what this deployment is called in metrics (their dimension `Service`)",
    ),
)
"""In the order of the contract. The order of ``Settings``' fields is the same (a test holds them together)."""
