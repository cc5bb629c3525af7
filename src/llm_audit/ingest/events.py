"""What an event says: which objects are new. Pure, standard library only.

=================================================  ==========================  ==============
event                                              it names objects in          keys are
=================================================  ==========================  ==============
S3 notification                                    ``Records[].s3``             URL-encoded
SQS messages that carry any other shape            ``Records[].body``           as in that one
SNS notifications, alone or in SQS messages        ``Records[].Sns.Message``    as in that one
EventBridge, ``Object Created`` of ``aws.s3``      ``detail``                   plain
a dead letter (what a function failed on)          ``requestPayload``           as in that one
=================================================  ==========================  ==============

An S3 notification encodes keys as a form does (a space is ``+``, a plus is ``%2B``); EventBridge does not encode
them (S3 User Guide, "Event message structure" and "EventBridge event message structure"). What S3 sends when a
notification is set up (``s3:TestEvent``), what tells of other things than a new object, and records of other
services are ignored, by name. An event of no known shape is a problem: were it ignored, objects might be lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from llm_audit.ingest.ingest import Notification

NESTING_LIMIT = 4
"""Envelopes within envelopes that are opened: SQS, SNS and S3 make three."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one record of an event brings, or one SQS message: it succeeds or comes again as a whole."""

    message_id: str | None = None
    """The SQS message that brought it."""
    named: tuple[Notification, ...] = ()
    ignored: tuple[str, ...] = ()
    """Why parts of it name no new object, in words."""
    problems: tuple[str, ...] = ()
    """Why parts of it could not be understood."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event, understood. A batch from a queue is answered message by message."""

    is_queue_batch: bool
    deliveries: tuple[Delivery, ...]


def read_event(event: Any) -> Event:
    """Tell what an event names; never raises, whatever the event is."""
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list):
        return Event(is_queue_batch=False, deliveries=(_of_payload(event, NESTING_LIMIT),))
    is_queue_batch = any(_source(record) == "aws:sqs" for record in records)
    return Event(is_queue_batch, tuple(_of_record(record, NESTING_LIMIT) for record in records))


def _source(record: Any) -> Any:
    """Give which service a record is of; SNS spells the member with a capital."""
    return (record.get("eventSource") or record.get("EventSource")) if isinstance(record, dict) else None


def _of_record(record: Any, depth: int) -> Delivery:
    match _source(record):
        case "aws:s3":
            return _of_s3_record(record)
        case "aws:sqs":
            found = _of_text(record.get("body"), depth - 1)
            message_id = record.get("messageId")
            return Delivery(str(message_id), found.named, found.ignored, found.problems)
        case "aws:sns":
            return _of_text(_member(record, "Sns", "Message"), depth - 1)
        case None:
            return Delivery(problems=("a record that does not say which service it is of (eventSource)",))
        case other:
            return Delivery(ignored=(f"a record of {ascii(other)[:80]}, not of S3",))


def _of_text(text: Any, depth: int) -> Delivery:
    """Read a message: JSON of any other shape."""
    if depth <= 0:
        return Delivery(problems=(f"more than {NESTING_LIMIT} envelopes, one in another",))
    try:
        payload = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return Delivery(problems=("a message that is no JSON, expected an S3 notification",))
    return _of_payload(payload, depth)


def _of_payload(payload: Any, depth: int) -> Delivery:
    match payload:
        case {"Records": list(records)}:
            return _joined(_of_record(record, depth) for record in records)
        case {"Event": "s3:TestEvent"}:
            return Delivery(ignored=("s3:TestEvent, which S3 sends when a notification is set up",))
        case {"source": str(source), "detail-type": str(kind_of_event)}:
            return _of_eventbridge(payload, source, kind_of_event)
        case {"Type": "Notification", "Message": text}:
            return _of_text(text, depth - 1)
        case {"requestPayload": inner} if depth > 0:
            return _of_payload(inner, depth - 1)
    unknown = "an event of unknown shape, expected one of S3, SQS, SNS or EventBridge"
    return Delivery() if payload == {} else Delivery(problems=(unknown,))


def _joined(parts: Iterable[Delivery]) -> Delivery:
    """Make one delivery of several: a message may carry more than one record."""
    found = list(parts)
    return Delivery(
        named=tuple(one for part in found for one in part.named),
        ignored=tuple(one for part in found for one in part.ignored),
        problems=tuple(one for part in found for one in part.problems),
    )


def _of_s3_record(record: Mapping[str, Any]) -> Delivery:
    name = record.get("eventName")
    if isinstance(name, str) and not name.removeprefix("s3:").startswith("ObjectCreated"):
        return Delivery(ignored=(f"{ascii(name)[:80]}, which creates no object",))
    bucket, key = _member(record, "s3", "bucket", "name"), _member(record, "s3", "object", "key")
    if isinstance(key, str):
        try:
            key = unquote_plus(key, errors="strict")
        except UnicodeDecodeError:
            return Delivery(problems=("an S3 record whose key is not UTF-8 after URL decoding",))
    return _naming(bucket, key)


def _of_eventbridge(event: Mapping[str, Any], source: str, kind_of_event: str) -> Delivery:
    if (source, kind_of_event) != ("aws.s3", "Object Created"):
        return Delivery(ignored=(f"{ascii(kind_of_event)[:80]} of {ascii(source)[:80]}",))
    return _naming(_member(event, "detail", "bucket", "name"), _member(event, "detail", "object", "key"))


def _naming(bucket: Any, key: Any) -> Delivery:
    if isinstance(bucket, str) and isinstance(key, str) and bucket and key:
        return Delivery(named=(Notification(bucket, key),))
    return Delivery(problems=("a record of S3 without bucket name and object key",))


def _member(value: Any, *path: str) -> Any:
    """Follow member names as far as they lead; None where they lead nowhere."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
