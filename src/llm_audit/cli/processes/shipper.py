"""The shipper's process: ``python -m llm_audit.cli.processes.shipper OPTIONS``, started by the supervisor.

It ships the journal of every writer, and fills the embedded index from the objects that it stored, by the same
ingestion that the Lambda runs. SIGTERM, or the supervisor's end, lets it ship what is there.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import orjson

from llm_audit.cli.digest_signing import digest_config
from llm_audit.cli.node_metrics import node_metrics
from llm_audit.cli.programs import ShipperOptions
from llm_audit.cli.settings import Settings, load_settings
from llm_audit.cli.signals import unblock
from llm_audit.cli.telemetry import open_telemetry, seen_by
from llm_audit.index.sqlite import SqliteIndex
from llm_audit.ingest.ingest import Notification, Trouble, ingest, log_trouble
from llm_audit.ship.ledger import LedgerError
from llm_audit.ship.lock import ShipLockedError
from llm_audit.ship.notify import Notify, ObjectCreated
from llm_audit.ship.shipper import ShipConfig, Shipper
from llm_audit.store.objects import ObjectStore, StoreSettingsError
from llm_audit.store.opening import open_store

S3_READERS = 8
"""Objects read back at once from a bucket, each of which answers after some milliseconds; a folder answers at once."""


class IndexBehindError(Exception):
    """Some records did not reach the index; they are told again."""


def main() -> int:
    """Ship until told to stop or left alone; give the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    options = ShipperOptions(**orjson.loads(sys.argv[1]))
    settings = load_settings(os.environ)
    try:
        store = open_store(
            settings.bucket, region=settings.aws_region, endpoint_url=settings.aws_endpoint_url
        )
    except StoreSettingsError as error:
        _say(str(error))
        return 2
    try:
        asyncio.run(_ship(_config(settings, options), store, settings))
    except (ShipLockedError, LedgerError, OSError) as error:
        _say(str(error))
        return 1
    return 0


def _config(settings: Settings, options: ShipperOptions) -> ShipConfig:
    return ShipConfig(
        journal=settings.journal_dir,
        quarantine=settings.quarantine_dir,
        status_file=settings.status_dir / "shipper.json",
        drain_s=options.patience,
        digests=digest_config(settings),
    )


async def _ship(config: ShipConfig, store: ObjectStore, settings: Settings) -> None:
    """Run the shipper until a signal comes, or the pipe to the supervisor ends."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    unblock()
    lifeline = sys.stdin.fileno()

    def has_ended() -> None:
        if not os.read(lifeline, 512):
            loop.remove_reader(lifeline)
            stop.set()

    loop.add_reader(lifeline, has_ended)
    with indexing(settings, store) as notify:
        telemetry = open_telemetry(settings)
        see = seen_by(node_metrics(settings, sys.stdout.fileno()), telemetry.see if telemetry else None)
        try:
            await Shipper(config, store, notify, on_status=see, watch=telemetry).run(stop)
        finally:
            if telemetry is not None:
                telemetry.close()


@contextmanager
def indexing(settings: Settings, store: ObjectStore) -> Iterator[Notify | None]:
    """Give what fills the index, or None where a Lambda does; close the index in the end.

    The index is opened with the first batch, and again until that succeeds: a damaged one must not keep
    records from being stored.
    """
    if settings.index_writer != "shipper":
        yield None
        return
    opened: list[SqliteIndex] = []

    def write(batch: Sequence[ObjectCreated]) -> None:
        if not opened:
            opened.append(SqliteIndex(settings.index_path))
        notifications = [Notification(created.bucket, created.key) for created in batch]
        failures: list[Trouble] = []

        def report(trouble: Trouble) -> None:
            log_trouble(trouble)
            if trouble.outcome == "failed":
                failures.append(trouble)

        result = ingest(
            notifications,
            lambda notification: store.stream(notification.key),
            opened[0],
            readers=S3_READERS if settings.is_s3 else 1,
            report=report,
        )
        if failures:
            raise IndexBehindError(
                f"{result.errors} of {result.processed} records did not reach the index: {failures[0].reason}"
            )

    async def notify(batch: Sequence[ObjectCreated]) -> None:
        await asyncio.to_thread(write, batch)

    try:
        yield notify
    finally:
        for index in opened:
            index.close()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
