"""``doctor --aws``: one real call, followed through gateway, proxy, bucket and Lambda into the table's indexes.

It is the requirement document's section 7. The call is made as source ``llm-audit-doctor`` and stays on record.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from llm_audit.deploy.errors import error_code
from llm_audit.deploy.findings import Finding
from llm_audit.deploy.gateway import Answer, call
from llm_audit.deploy.stacks import pauses
from llm_audit.deploy.target import Target
from llm_audit.index.schema import NotAnAuditDocumentError, item_from_document, keys
from llm_audit.store.keys import day_prefix

CALLER = {
    "x-llm-source": "llm-audit-doctor",
    "x-llm-user": "doctor",
    "x-llm-request-type": "health-check",
}
_DAY_MS = 86_400_000
_SECTION_3 = "see docs/deploy.md, section 3, or run `llm-audit aws deploy`"

Say = Callable[[str], None]
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it lies in the bucket."""

    key: str
    content: bytes
    document: dict[str, Any]

    @property
    def sha256(self) -> str:
        """The object's digest."""
        return hashlib.sha256(self.content).hexdigest()


def enforcement(target: Target) -> Iterator[Finding]:
    """Check that the gateway refuses who does not name himself, and who has no key."""
    if not target.api_url:
        yield Finding(None, "the gateway was not called: its address is not known", "give --api-url")
        return
    if target.api_key:
        for missing in CALLER:
            headers = {name: value for name, value in CALLER.items() if name != missing}
            answer = call(target.api_url, "GET", "/v1/models", {**headers, "x-api-key": target.api_key})
            words = f"without {missing} the gateway answers {answer.status}"
            yield Finding(
                answer.status == 400, words, f"expected 400: the method's validator is missing; {_SECTION_3}"
            )
    answer = call(target.api_url, "GET", "/v1/models", CALLER)
    advice = f"expected 403: the method demands no key; {_SECTION_3}"
    yield Finding(answer.status == 403, f"without x-api-key the gateway answers {answer.status}", advice)
    answer = call(target.api_url, "GET", "/v1/models", {**CALLER, "x-api-key": "0" * 40})
    yield Finding(answer.status == 403, f"with an unknown x-api-key it answers {answer.status}", advice)


def chain(target: Target, say: Say) -> Iterator[Finding]:
    """Make a call and follow it to the indexes; ``say`` is told what is waited for."""
    if not target.api_url or not target.api_key:
        what = "key" if target.api_url else "address"
        yield Finding(
            None, f"no call was made: the gateway's {what} is not known", "give --api-url and --api-key"
        )
        return
    request_id = str(uuid.uuid4())
    began = time.monotonic()
    answer = _chat(target, request_id)
    words = f"a call through the gateway answers {answer.status}"
    yield Finding(answer.status == 200, words, f"it says: {answer.said}; {_advice_for(answer.status)}")
    if answer.status != 200:
        return
    wait = _Waiting(began, target.wait_seconds, say)
    stored = wait.until(lambda: _stored(target, request_id), f"the record of {request_id}")
    if stored is None:
        yield Finding(False, f"no record of {request_id} in {target.bucket} after {wait.took}", _NO_OBJECT)
        return
    yield Finding(True, f"its record is s3://{target.bucket}/{stored.key} (after {wait.took})")
    yield from _record(stored, answer)
    yield from _items(target, stored, wait)


_NO_OBJECT = (
    "the proxy's shipper does not store: run `llm-audit doctor` on its machine, and see AUDIT_BUCKET and the task "
    "role's policy"
)


def _advice_for(status: int) -> str:
    if status in (500, 502, 503, 504):
        return "the proxy or the model server is away: run `llm-audit doctor` on its machine"
    if status == 403:
        return "the key is none of the usage plan's, or the proxy demands one of its own"
    return "429 is the usage plan's limit" if status == 429 else "see the message"


def _chat(target: Target, request_id: str) -> Answer:
    headers = {**CALLER, "x-api-key": target.api_key, "x-request-id": request_id}
    models = call(target.api_url, "GET", "/v1/models", {**CALLER, "x-api-key": target.api_key}).json()
    listed = models.get("data") if isinstance(models, dict) else None
    model = (
        listed[0].get("id")
        if isinstance(listed, list) and listed and isinstance(listed[0], dict)
        else "default"
    )
    messages = [{"role": "user", "content": "Say hello."}]
    body = {"model": model, "messages": messages, "max_tokens": 8}
    return call(target.api_url, "POST", "/v1/chat/completions", headers, body)


class _Waiting:
    """Looks again and again, within one span of time that all waits share."""

    def __init__(self, began: float, seconds: float, say: Say) -> None:
        self._began = began
        self._deadline = began + seconds
        self._say = say

    def until(self, look: Callable[[], Found | None], what: str) -> Found | None:
        """Give what ``look`` gives once it gives something; None where the time is over."""
        for seconds in pauses(0.1, 2.0):
            found = look()
            if found is not None or time.monotonic() + seconds > self._deadline:
                return found
            self._say(f"waiting for {what}, {self.took}")
            time.sleep(seconds)
        return None

    @property
    def took(self) -> str:
        """Seconds since the call began."""
        return f"{time.monotonic() - self._began:.1f} s"


def _stored(target: Target, request_id: str) -> Stored | None:
    from botocore.exceptions import ClientError  # noqa: PLC0415 - boto3 is an extra

    now = time.time_ns() // 1_000_000
    for day in (now, now - _DAY_MS, now + _DAY_MS):  # the proxy's day may be another than ours
        key = f"{day_prefix(target.prefix, day)}{request_id}.json"
        try:
            content = target.aws.s3.get_object(Bucket=target.bucket, Key=key)["Body"].read()
        except ClientError as error:
            if error_code(error) in ("NoSuchKey", "404"):
                continue
            raise
        return Stored(key, content, json.loads(content))
    return None


def _record(stored: Stored, answer: Answer) -> Iterator[Finding]:
    document = stored.document
    said = tuple(str(document.get(name)) for name in ("source", "user", "requestType"))
    is_same = said == tuple(CALLER.values()) and document.get("statusCode") == answer.status
    words = f"it says who called and how it ended: {', '.join(said)}, {document.get('outcome')}"
    yield Finding(
        is_same and document.get("outcome") == "complete", words, "the proxy is not the one of this gateway"
    )
    source = (document.get("identity") or {}).get("source")
    advice = (
        "the proxy does not believe the gateway: AUDIT_GATEWAY_SECRET is not the secret that the integration sends "
        "(x-llm-gateway-secret); callers who reach the proxy past the gateway look alike"
    )
    yield Finding(source == "gateway", f"it says that the identity is vouched for by: {source}", advice)


def _items(target: Target, stored: Stored, wait: _Waiting) -> Iterator[Finding]:
    try:
        expected = item_from_document(stored.document, target.bucket, stored.key, stored.sha256)
    except NotAnAuditDocumentError as error:
        yield Finding(False, f"the record cannot become an item: {error}", "the proxy is of another version")
        return
    wanted = keys(expected)
    found = wait.until(lambda: _item(target, wanted), f"its item in {target.table}")
    if found is None:
        advice = (
            "the function did not write it: see its log, the dead-letter queue and the findings above; "
            "`llm-audit reconcile` names every call that is missing"
        )
        yield Finding(False, f"no item in {target.table} after {wait.took}", advice)
        return
    same = found.get("auditObjectSha256", {}).get("S") == stored.sha256
    advice = "the object was changed after it was ingested, or another proxy wrote it"
    yield Finding(
        same, f"its item is in {target.table} (after {wait.took}), with the record's digest", advice
    )
    for index, names in _INDEXES.items():
        look = partial(_in_index, target, index, names, found)
        is_there = wait.until(look, f"its place in {index}")
        words = f"it is {'' if is_there else 'not '}found by {index}"
        yield Finding(bool(is_there), words, "an index is filled within a second: see whether it is ACTIVE")


_INDEXES: dict[str, Sequence[str]] = {
    "GSI_UserTime": ("userIdPk", "userIdSk"),
    "GSI_StatusTime": ("statusPk", "statusSk"),
    "GSI_ProjectLatency": ("latencyPk", "latencySk"),
}


def _item(target: Target, wanted: dict[str, str]) -> dict[str, Any] | None:
    key: Any = {name: {"S": wanted[name]} for name in ("id", "createdAt")}
    found: Any = target.aws.dynamodb.get_item(TableName=target.table, Key=key, ConsistentRead=True)
    item: dict[str, Any] | None = found.get("Item")
    return item


def _in_index(target: Target, index: str, names: Sequence[str], item: dict[str, Any]) -> bool | None:
    """Tell whether the index gives the item by its own keys; None where it does not (yet)."""
    partition, sort = names
    if partition not in item or sort not in item:
        return None
    found: Any = target.aws.dynamodb.query(
        TableName=target.table,
        IndexName=index,
        KeyConditionExpression="#p = :p AND #s = :s",
        ExpressionAttributeNames={"#p": partition, "#s": sort},
        ExpressionAttributeValues={":p": item[partition], ":s": item[sort]},
    )
    return True if any(one["createdAt"] == item["createdAt"] for one in found["Items"]) else None
