"""What the console is told by whoever starts it. Frozen; the things that do I/O are given as functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llm_audit.index.index import IndexReader
from llm_audit.query.pipeline import PipelineFolders
from llm_audit.store.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class ConsoleSetup:
    """One console's surroundings."""

    listens_on: str
    """The host of the listening address: a loopback one lets people on this machine see metadata without a login."""
    hosts: frozenset[str]
    """Names that are served, lower case, without ports; IPv6 addresses in brackets."""
    is_tls: bool
    data_dir: Path
    """Holds the users' file and the access log."""
    prefix: str
    """What objects' keys begin with."""
    folders: PipelineFolders
    open_index: Callable[[], IndexReader]
    """Raises IndexUnavailableError where there is none (yet)."""
    open_store: Callable[[], ObjectStore]
    """Raises StoreError."""
    callers_url: str
    """Where callers reach the proxy, for commands to copy."""
    version: str
    journal_limit_bytes: int
    key_before: Callable[[str, int, int], str | None] = lambda _writer, _boot, _sequence: None
    """Gives the key of the record before one in its writer's chain (writer, boot, sequence); None where nobody knows it."""
    is_whole: bool = True
    """Whether the index answers every filter (SQLite); a table's pages may show part."""
