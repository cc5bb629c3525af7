"""Dead letters given to the function again: each message of a queue, one by one, deleted once it is ingested.

On AWS a dead letter of a function holds the event itself, one of a queue the S3 notification that it carried, and an
on-failure destination wraps the event in an envelope: the function reads all three, so a message's body is what it is
invoked with. (AWS's own redrive, ``StartMessageMoveTask``, moves messages back to a source queue; a function that S3
invokes directly has none.) Nothing is lost on the way: a message is deleted only after the function's answer.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from llm_audit.ingest.events import read_event
from llm_audit.ingest.reports import COUNTS

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

HIDDEN_S = 900
"""How long nobody else is given a message that is being redriven, and how long a function runs at most."""

_PAGE = 10


class RedriveError(Exception):
    """The queue or the function could not be used: the message says what came and what to do."""


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of one message. ``problem`` is None where it was ingested and deleted."""

    message_id: str
    objects: tuple[str, ...]
    """What it names, as ``bucket/key``."""
    problem: str | None
    counts: dict[str, int]
    """The function's answer: ``processed``, ``written``, ``skipped``, ``errors``."""


@contextmanager
def redriving(
    region: str | None, endpoint: str | None, queue: str, function: str, *, is_dry: bool = False
) -> Iterator[Iterator[Redriven]]:
    """Redrive a queue, named by URL, ARN or name, at the place that settings or the environment name; see ``redrive``."""
    # The answer of a function that runs long is waited for, and never asked for a second time meanwhile.
    patient = Config(read_timeout=HIDDEN_S, retries={"total_max_attempts": 1})
    with _own_errors("AWS"):
        sqs = boto3.client("sqs", region_name=region, endpoint_url=endpoint)
        functions = boto3.client("lambda", region_name=region, endpoint_url=endpoint, config=patient)
    with (
        closing(sqs),
        closing(functions),
        closing(redrive(sqs, functions, queue_url(sqs, queue), function, is_dry=is_dry)) as letters,
    ):
        yield letters


def queue_url(sqs: SQSClient, queue: str) -> str:
    """Give a queue's URL by its URL, ARN or name. Raises RedriveError."""
    if queue.startswith(("http://", "https://")):
        return queue
    with _own_errors(f"queue {queue}"):
        return sqs.get_queue_url(QueueName=queue.rpartition(":")[2])["QueueUrl"]


def redrive(
    sqs: SQSClient, functions: LambdaClient, queue: str, function: str, *, is_dry: bool = False
) -> Generator[Redriven, None, None]:
    """Give each message of a queue (its URL) to the function; yields what became of it. Raises RedriveError.

    Ends when the queue has nothing more, or gives a message for the second time. Those that failed again, or that
    it did not come to, are visible at once. ``is_dry`` only looks: nothing is invoked, everything stays.
    """
    held: dict[str, str] = {}
    seen: set[str] = set()
    try:
        while page := _received(sqs, queue):
            held.update((message["MessageId"], message["ReceiptHandle"]) for message in page)
            for message in page:
                if message["MessageId"] in seen:
                    return
                seen.add(message["MessageId"])
                done = _looked_at(message) if is_dry else _invoked(functions, function, message)
                if not is_dry and done.problem is None:
                    with _own_errors(f"queue {queue}"):
                        sqs.delete_message(QueueUrl=queue, ReceiptHandle=held.pop(message["MessageId"]))
                yield done
    finally:
        for handle in held.values():
            with suppress(BotoCoreError, ClientError):  # it shows again by itself, only later
                sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=0)


def _received(sqs: SQSClient, queue: str) -> list[MessageTypeDef]:
    """Give some messages, hidden from others; none only where the queue is empty, since all its servers are asked."""
    with _own_errors(f"queue {queue}"):
        answer = sqs.receive_message(
            QueueUrl=queue,
            MaxNumberOfMessages=_PAGE,
            VisibilityTimeout=HIDDEN_S,
            WaitTimeSeconds=1,
            MessageAttributeNames=["ErrorMessage"],
        )
    return answer.get("Messages", [])


def _invoked(functions: LambdaClient, function: str, message: MessageTypeDef) -> Redriven:
    body = message.get("Body", "")
    objects = _objects(body)
    if not _json(body.encode()):
        return Redriven(message["MessageId"], objects, "the message holds no JSON object: no event", {})
    with _own_errors(f"function {function}"):
        answer = functions.invoke(
            FunctionName=function, InvocationType="RequestResponse", Payload=body.encode()
        )
    said = _json(answer["Payload"].read())
    counts = {name: said[name] for name in COUNTS if name in said}
    problem = None
    if answer.get("FunctionError"):
        problem = f"{said.get('errorType', 'error')}: {said.get('errorMessage', 'no message')}"
    elif counts.get("errors") != 0:
        problem = "the function did not ingest all of it"
    return Redriven(message["MessageId"], objects, problem, counts)


def _looked_at(message: MessageTypeDef) -> Redriven:
    """Tell what a message names, and what AWS wrote beside it when it gave up."""
    body = message.get("Body", "")
    attributes = message.get("MessageAttributes", {})
    said: Any = attributes["ErrorMessage"].get("StringValue") if "ErrorMessage" in attributes else None
    if said is None:
        answer = _json(body.encode()).get("responsePayload")
        said = answer.get("errorMessage") if isinstance(answer, dict) else None
    return Redriven(message["MessageId"], _objects(body), None if said is None else str(said), {})


def _objects(body: str) -> tuple[str, ...]:
    event = read_event(_json(body.encode()))
    return tuple(f"{one.bucket}/{one.key}" for delivery in event.deliveries for one in delivery.named)


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


@contextmanager
def _own_errors(what: str) -> Iterator[None]:
    """Turn botocore's errors into ours."""
    try:
        yield
    except ClientError as error:
        detail = error.response.get("Error", {})
        raise RedriveError(f"{what}: {detail.get('Code', 'error')}: {detail.get('Message', '')}") from None
    except BotoCoreError as error:
        raise RedriveError(f"{what}: {error}") from None
