"""One proxy worker: ``python -m llm_audit.cli.processes.proxy OPTIONS``, started by the supervisor."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import orjson

from llm_audit import __version__
from llm_audit.cli.programs import ProxyOptions
from llm_audit.cli.settings import Settings, load_settings
from llm_audit.journal.model import (
    Durability,
    JournalFailedError,
    JournalFormatError,
    JournalFullError,
    JournalLockedError,
    RecordSettings,
)
from llm_audit.proxy.config import ProxyConfig
from llm_audit.proxy.keys import KeyFileError
from llm_audit.proxy.ports import ExchangeLimits
from llm_audit.proxy.worker import run

_NOT_NOW = (
    JournalFailedError,
    JournalFullError,
    JournalLockedError,
    JournalFormatError,
    KeyFileError,
    OSError,
)
"""What may be otherwise when the supervisor starts this process again."""


def main() -> int:
    """Serve until the supervisor says stop or is gone; give the exit code."""
    told = orjson.loads(sys.argv[1])
    options = ProxyOptions(**{**told, "writer": Path(told["writer"])})
    listener = socket.socket(fileno=options.listener)
    try:
        return run(make_config(load_settings(os.environ), options), listener, sys.stdin.fileno())
    except _NOT_NOW as error:
        print(error, file=sys.stderr, flush=True)
        return 1


def make_config(settings: Settings, options: ProxyOptions) -> ProxyConfig:
    """Give what one worker is told: its share of the journal, the rest as it stands."""
    return ProxyConfig(
        writer_dir=options.writer,
        usage_dir=settings.usage_dir,
        upstream_host=settings.upstream.host,
        upstream_port=settings.upstream.port,
        upstream_tls=settings.upstream.is_tls,
        upstream_is_launched=options.is_launched,
        record=RecordSettings(settings.prefix, settings.body_preview, settings.content, __version__),
        durability=Durability[settings.durability.upper()],
        journal_limit_bytes=settings.journal_max_bytes // settings.workers,
        pass_when_full=settings.when_full == "pass",
        limits=ExchangeLimits(settings.client_timeout, settings.upstream_timeout, settings.max_duration),
        drain_timeout=settings.drain_timeout,
        max_body_bytes=settings.max_body_bytes,
        api_keys=settings.api_keys,
        gateway_secret=settings.gateway_secret,
        extra_paths=settings.extra_paths,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
    )


if __name__ == "__main__":
    sys.exit(main())
