"""What one proxy worker is told at start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from llm_audit.journal.model import Durability, RecordSettings
from llm_audit.proxy.ports import ExchangeLimits


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """Settings of one proxy process (contracts.md, "Environment")."""

    writer_dir: Path
    """This worker's own journal directory."""
    usage_dir: Path
    """Counters of the usage plan, shared by the workers of a node."""
    upstream_host: str
    upstream_port: int
    upstream_tls: bool = False
    upstream_is_launched: bool = False
    """True where we run the model server ourselves: calls get 503 until it answers its health check."""
    record: RecordSettings = field(default_factory=RecordSettings)
    durability: Durability = Durability.HOST
    journal_limit_bytes: int = 10 * 2**30
    """This worker's share of the journal."""
    pass_when_full: bool = False
    limits: ExchangeLimits = field(default_factory=ExchangeLimits)
    drain_timeout: float = 120.0
    max_body_bytes: int = 64 * 2**20
    api_keys: Path | None = None
    gateway_secret: str | None = field(default=None, repr=False)
    extra_paths: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def authority(self) -> str:
        """Host field for upstream."""
        host = f"[{self.upstream_host}]" if ":" in self.upstream_host else self.upstream_host
        default = 443 if self.upstream_tls else 80
        return host if self.upstream_port == default else f"{host}:{self.upstream_port}"
