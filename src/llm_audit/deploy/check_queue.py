"""``doctor --aws``: the queue between bucket and function, where there is one (``IngestMode=sqs``). Reads only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from llm_audit.deploy.check_ingest import told_of_new_records
from llm_audit.deploy.findings import Finding
from llm_audit.deploy.target import Target

_DEPLOY = "run `llm-audit aws deploy --parameter IngestMode=sqs`, which sets it"
_PARTLY = "ReportBatchItemFailures"


def queue(target: Target) -> Iterator[Finding]:
    """Check that the function takes from each queue, that one failure fails alone, and where it ends.

    Says nothing where no queue is told of new records and the function reads none.
    """
    pages = target.aws.functions.get_paginator("list_event_source_mappings").paginate(
        FunctionName=target.function
    )
    found: list[Any] = [one for page in pages for one in page["EventSourceMappings"]]
    read = {one["EventSourceArn"]: one for one in found if ":sqs:" in one.get("EventSourceArn", "")}
    for told in told_of_new_records(target):
        arn = told.get("QueueArn")
        if arn and arn not in read:
            words = f"{target.function} does not take from {_name(arn)}, which {target.bucket} tells of new records"
            yield Finding(False, words, f"{_DEPLOY} (an event source mapping)")
    for arn, mapping in read.items():
        yield from _mapping(_name(arn), mapping)
        yield from _queue(target, _name(arn))


def _mapping(name: str, mapping: dict[str, Any]) -> Iterator[Finding]:
    state = mapping.get("State", "Enabled")
    words = f"the function takes from {name}: {state}"
    yield Finding(state in ("Enabled", "Enabling", "Updating"), words, "enable the event source mapping")
    is_partial = _PARTLY in (mapping.get("FunctionResponseTypes") or ())
    what = "comes again, alone" if is_partial else "is deleted as if it were done"
    advice = f"{_DEPLOY} (FunctionResponseTypes {_PARTLY}): else nobody reads which messages the function says failed"
    yield Finding(is_partial, f"a message of {name} that fails {what}", advice)


def _queue(target: Target, name: str) -> Iterator[Finding]:
    url = target.aws.sqs.get_queue_url(QueueName=name)["QueueUrl"]
    found = target.aws.sqs.get_queue_attributes(
        QueueUrl=url, AttributeNames=["RedrivePolicy", "VisibilityTimeout"]
    )
    attributes: Any = found.get("Attributes", {})
    dead = json.loads(attributes.get("RedrivePolicy", "{}")).get("deadLetterTargetArn")
    advice = f"{_DEPLOY}: without a redrive policy it comes again until it is too old, and is lost then"
    words = f"what fails again and again goes from {name} to {_name(dead) if dead else 'nowhere'}"
    yield Finding(bool(dead), words, advice)
    timeout = target.aws.functions.get_function_configuration(FunctionName=target.function).get("Timeout", 3)
    hidden = int(attributes.get("VisibilityTimeout", 30))
    words = f"a message of {name} stays hidden for {hidden} s while the function has it, which may take {timeout} s"
    yield Finding(hidden >= timeout, words, f"{_DEPLOY} (six times the function's time-out)")


def _name(arn: str) -> str:
    return arn.rpartition(":")[2]
