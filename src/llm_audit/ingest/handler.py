"""The ingestion Lambda: an event → its objects → items. ``lambda_handler`` is what AWS calls.

``infra/lambda/llm-audit-ingest/handler.py`` is this module and what it needs of the package, in one file; ``make docs``
writes it. The answer is ``{"processed", "written", "skipped", "errors"}``, and for a batch of a queue
``batchItemFailures`` as well. The whole event is worked through; then, unless it came from a queue, it raises if
anything failed: the service tries twice more and then puts the event into the dead-letter queue. Whatever comes
twice, or in another order, leaves the table as it is.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import botocore.session
from botocore.config import Config

from llm_audit.index.dynamodb_table import Table
from llm_audit.index.dynamodb_writer import DynamoWriter
from llm_audit.index.schema import Item
from llm_audit.ingest.aws_objects import (
    AuditObjects,
    RawArchive,
    ThenTold,
    copy_only_where_there_is_none,
)
from llm_audit.ingest.events import Delivery, Event, read_event
from llm_audit.ingest.ingest import Notification, ObjectGoneError, Trouble, ingest
from llm_audit.ingest.lambda_settings import LambdaSettings, lambda_settings
from llm_audit.ingest.reports import COUNTS, summary_lines, trouble_line
from llm_audit.record.times import ms_from_iso

CLIENT_OPTIONS: dict[str, Any] = {
    "connect_timeout": 3,
    "read_timeout": 20,
    "retries": {"mode": "adaptive", "total_max_attempts": 5},
    "tcp_keepalive": True,
    "user_agent_extra": "llm-audit-ingest",
}
"""Adaptive: whoever is throttled backs off with jitter and slows down (botocore's guide, "Retries"). Five attempts
wait some 15 s at most, which leaves time of the function's 60 s for the rest of the event."""

RESERVE_MS = 3000
"""Once so little is left of the function's time, objects but the first are given back unread: a batch that takes
too long for one invocation is done in several, where a time-out would fail all of it each time."""


class IngestFailedError(Exception):
    """Some of an event could not be ingested: it must come again. The log names each object and why."""


class OutOfTimeError(Exception):
    """The function's time is nearly over; the object was not looked at."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """What the service says of one call of the function."""

    request_id: str | None
    remaining_ms: Callable[[], int]

    @classmethod
    def of(cls, context: Any) -> Invocation:
        """Read Lambda's context object; a call by hand may come without one."""
        remaining = getattr(context, "get_remaining_time_in_millis", None)
        return cls(getattr(context, "aws_request_id", None), remaining or (lambda: sys.maxsize))


class Function:
    """The function with its clients, made once and used for every event that this process gets."""

    def __init__(self, settings: LambdaSettings, s3: Any, dynamodb: Any, name: str) -> None:
        self.items = settings.items
        self.objects = AuditObjects(s3)
        self.archive = RawArchive(s3, settings.archive_bucket) if settings.archive_bucket else None
        self.table = DynamoWriter(Table(settings.table, dynamodb))
        self.name = name

    def handle(self, event: Any, invocation: Invocation, say: Callable[[str], object]) -> dict[str, Any]:
        """Work through an event and give the answer. Raises IngestFailedError; ``say`` gets the log's lines."""
        understood = read_event(event)
        run = _Run(self, invocation, say)
        results = [run.deliver(one) for one in understood.deliveries]
        counts = {name: sum(result[name] for result in results) for name in COUNTS}
        details = {"requestId": invocation.request_id, "queueMessages": _messages(understood)}
        for line in summary_lines(counts, run.ages_ms, self.name, _now_ms(), details):
            say(line)
        if understood.is_queue_batch:
            pairs = zip(understood.deliveries, results, strict=True)
            failed = [delivery.message_id for delivery, result in pairs if result["errors"]]
            return {**counts, "batchItemFailures": [{"itemIdentifier": one} for one in failed]}
        if counts["errors"]:
            raise IngestFailedError(
                f"{counts['errors']} of {counts['processed']} could not be ingested, each named in the log "
                f"(level ERROR); {counts['written']} written. The event must come again; it changes nothing twice"
            )
        return counts


class _Run:
    """One invocation: what is counted, timed and said while an event is worked through."""

    def __init__(self, function: Function, invocation: Invocation, say: Callable[[str], object]) -> None:
        self._function = function
        self._invocation = invocation
        self._say = say
        self._has_begun = False
        self.ages_ms: list[int] = []

    def deliver(self, delivery: Delivery) -> dict[str, int]:
        """Ingest what one message (or one record) names, and count it."""
        function = self._function
        writer = ThenTold(function.table, function.archive, lambda item: self.ages_ms.append(_age_ms(item)))
        result = ingest(delivery.named, self._open, writer, function.items, batch_size=1, report=self._report)
        for outcome, reasons in (("skipped", delivery.ignored), ("failed", delivery.problems)):
            for reason in reasons:
                self._say(trouble_line(outcome, reason, self._invocation.request_id))
        return {
            "processed": result.processed + len(delivery.ignored) + len(delivery.problems),
            "written": result.written,
            "skipped": result.skipped + len(delivery.ignored),
            "errors": result.errors + len(delivery.problems),
        }

    def _open(self, notification: Notification) -> Iterator[bytes]:
        if self._has_begun and self._invocation.remaining_ms() < RESERVE_MS:
            raise OutOfTimeError("the function's time is over; a longer time-out or more memory helps")
        self._has_begun = True
        archive = self._function.archive
        if archive is not None and notification.bucket == archive.bucket:
            raise ObjectGoneError("it is a copy in the raw archive; the original is what counts")
        return self._function.objects.open(notification)

    def _report(self, trouble: Trouble) -> None:
        request_id = self._invocation.request_id
        for one in trouble.notifications:
            self._say(trouble_line(trouble.outcome, trouble.reason, request_id, one.bucket, one.key))


def _messages(event: Event) -> int | None:
    return len(event.deliveries) if event.is_queue_batch else None


def _age_ms(item: Item) -> int:
    """Give how long ago the call ended; never less than nothing, whatever the clocks say."""
    return max(0, _now_ms() - ms_from_iso(item.started_at) - item.latency_ms)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def function_from(environment: Mapping[str, str]) -> Function:
    """Make the function as its environment says. Raises LambdaSettingsError."""
    settings = lambda_settings(environment)
    session = botocore.session.get_session()
    region = environment.get("AWS_REGION") or None  # botocore itself looks at AWS_DEFAULT_REGION alone
    # Another endpoint than Amazon's (a VPC endpoint, a local AWS) may have no name for each bucket.
    has_own_endpoint = any(environment.get(name) for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"))
    s3_options = Config(**CLIENT_OPTIONS, s3={"addressing_style": "path" if has_own_endpoint else "auto"})
    s3 = session.create_client("s3", region_name=region, config=s3_options)
    s3.meta.events.register("before-call.s3.CopyObject", copy_only_where_there_is_none)
    dynamodb = session.create_client("dynamodb", region_name=region, config=Config(**CLIENT_OPTIONS))
    return Function(settings, s3, dynamodb, environment.get("AWS_LAMBDA_FUNCTION_NAME", "llm-audit-ingest"))


_FUNCTIONS: list[Function] = []


def _function() -> Function:
    if not _FUNCTIONS:
        _FUNCTIONS.append(function_from(os.environ))
    return _FUNCTIONS[0]


def lambda_handler(event: Any, context: Any = None) -> dict[str, Any]:
    """Ingest what ``event`` names; see the module. Raises IngestFailedError, LambdaSettingsError."""
    return _function().handle(event, Invocation.of(context), print)


if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    # In Lambda, importing this is the init phase, which has a whole processor however small the function's memory
    # is. Clients are made there, once, and keep their connections; wrong settings stop the deployment at once.
    _function()
