"""``doctor --aws``: from bucket to function to table, what may stand in the way. Reads, and simulates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from llm_audit.deploy.errors import error_code
from llm_audit.deploy.findings import Finding
from llm_audit.deploy.target import Target

_DEPLOY = "run `llm-audit aws deploy`, which sets it"
_PUT = ("s3:ObjectCreated:*", "s3:ObjectCreated:Put")


def notification(target: Target) -> Iterator[Finding]:
    """Check that the bucket tells of new records, once, and is allowed to."""
    ours = told_of_new_records(target)
    if not ours and "EventBridgeConfiguration" in _notifications(target):
        yield Finding(True, f"{target.bucket} tells EventBridge of new records; its rules are not looked at")
        return
    if not ours:
        yield Finding(False, f"{target.bucket} tells nobody of new objects below {target.prefix}/", _DEPLOY)
        return
    names = [str(one.get("LambdaFunctionArn") or one.get("QueueArn")) for one in ours]
    advice = "one is enough: each record is ingested as often as it is told of; nothing doubles, but you pay for it"
    yield Finding(len(names) == 1, f"{target.bucket} tells {' and '.join(names)} of new records", advice)
    for one in ours:
        rules = one.get("Filter", {}).get("Key", {}).get("FilterRules", [])
        prefix = next((rule["Value"] for rule in rules if rule["Name"].lower() == "prefix"), "")
        if prefix and not prefix.endswith("/"):
            words = f"the notification's prefix is {prefix}: it fires on {prefix}-old/… as well"
            yield Finding(True, f"{words}; the function skips what is no record")
    if any(name.split(":")[2] == "lambda" for name in names):
        yield from _invocation(target)


def told_of_new_records(target: Target) -> list[dict[str, Any]]:
    """Give those of the bucket's notifications, to functions and queues, that tell of new records."""
    found = _notifications(target)
    told = [*found.get("LambdaFunctionConfigurations", []), *found.get("QueueConfigurations", [])]
    return [one for one in told if set(one.get("Events", [])) & set(_PUT) and _is_for(one, target.prefix)]


def _notifications(target: Target) -> Any:
    return target.aws.s3.get_bucket_notification_configuration(Bucket=target.bucket)


def _is_for(configuration: dict[str, Any], prefix: str) -> bool:
    rules = configuration.get("Filter", {}).get("Key", {}).get("FilterRules", [])
    wanted = {rule["Name"].lower(): rule["Value"] for rule in rules}
    key = f"{prefix}/2026/01/01/x.json"
    return key.startswith(wanted.get("prefix", "")) and key.endswith(wanted.get("suffix", ""))


def _invocation(target: Target) -> Iterator[Finding]:
    from botocore.exceptions import ClientError  # noqa: PLC0415 - boto3 is an extra

    try:
        policy = target.aws.functions.get_policy(FunctionName=target.function)["Policy"]
        statements = json.loads(policy)["Statement"]
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        statements = []
    ours = [one for one in statements if "s3.amazonaws.com" in str(one.get("Principal"))]
    allowed = [one for one in ours if target.object_arn() in json.dumps(one.get("Condition", {}))]
    words = f"S3 may {'' if allowed else 'not '}invoke {target.function} for {target.bucket}"
    yield Finding(bool(allowed), words, f"{_DEPLOY} (aws lambda add-permission)")
    if allowed and not any("SourceAccount" in json.dumps(one.get("Condition", {})) for one in allowed):
        advice = "add --source-account: else whoever takes the bucket's name after you may invoke it"
        yield Finding(False, f"the permission to invoke {target.function} names no account", advice)


def function(target: Target) -> Iterator[Finding]:
    """Check the function's state and settings."""
    found: Any = target.aws.functions.get_function_configuration(FunctionName=target.function)
    state, update = found.get("State", "Active"), found.get("LastUpdateStatus", "Successful")
    is_ready = state in ("Active", "Inactive") and update != "Failed"
    reason = found.get("StateReason") or found.get("LastUpdateStatusReason") or "deploy again"
    yield Finding(is_ready, f"the function {target.function} is {state}, its last update {update}", reason)
    variables = found.get("Environment", {}).get("Variables", {})
    written = variables.get("TABLE_NAME", "CentralLLMAudit")
    is_same = written.rpartition("/")[2] == target.table
    yield Finding(
        is_same, f"it writes to the table {written}", f"set TABLE_NAME to {target.table}, or give --table"
    )
    dead = found.get("DeadLetterConfig") or {}
    advice = f"{_DEPLOY}: without it an event that fails three times is lost (`llm-audit reconcile` finds it)"
    if dead.get("TargetArn") or not _is_queued(target):  # a queue in front keeps what fails: see check_queue
        words = f"what it cannot ingest goes to {dead.get('TargetArn') or 'nowhere'}"
        yield Finding(bool(dead.get("TargetArn")), words, advice)
    timeout = found.get("Timeout", 3)
    yield Finding(timeout >= 30, f"it may take {timeout} s", "set 60 s: a large record takes its time")
    is_current = found.get("CodeSha256") == target.expected_code
    words = f"its code is {'what this llm-audit builds' if is_current else 'of another version than this llm-audit'}"
    yield Finding(is_current, words, "deploy with the version that you mean to run")
    reserved = target.aws.functions.get_function_concurrency(FunctionName=target.function).get(
        "ReservedConcurrentExecutions"
    )
    words = "it may run at once: " + ("as the account allows" if reserved is None else str(reserved))
    yield Finding(reserved != 0, words, "a reserved concurrency of 0 stops it: raise it")


def _is_queued(target: Target) -> bool:
    mappings = target.aws.functions.list_event_source_mappings(FunctionName=target.function)
    return any(":sqs:" in one.get("EventSourceArn", "") for one in mappings["EventSourceMappings"])


def permissions(target: Target) -> Iterator[Finding]:
    """Let IAM simulate what the function's role needs."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - boto3 is an extra

    role = target.role
    needed = [
        ("s3:GetObject", target.object_arn(f"{target.prefix}/2026/01/01/x.json")),
        ("dynamodb:PutItem", target.table_arn()),
        *([("sqs:SendMessage", _queue_arn(target))] if target.dead_letters_url else []),
    ]
    for action, resource in needed:
        try:
            result = target.aws.iam.simulate_principal_policy(
                PolicySourceArn=role, ActionNames=[action], ResourceArns=[resource]
            )["EvaluationResults"][0]
        except ClientError as error:
            if error_code(error) in ("AccessDenied", "AccessDeniedException"):
                words = "what the function's role may do was not looked at: iam:SimulatePrincipalPolicy is not allowed"
                yield Finding(None, words)
                return
            raise
        decision = result["EvalDecision"]
        words = f"the function's role {'may' if decision == 'allowed' else 'may not'} {action} on {resource}"
        needs = "infra/lambda/llm-audit-ingest/inline-policy.json has what it needs, once <ACCOUNT_ID> is filled in"
        advice = f"{_DEPLOY} ({decision}: {needs})"
        yield Finding(decision == "allowed", words, advice)


def _queue_arn(target: Target) -> str:
    found = target.aws.sqs.get_queue_attributes(QueueUrl=target.dead_letters_url, AttributeNames=["QueueArn"])
    return found["Attributes"]["QueueArn"]


def dead_letters(target: Target) -> Iterator[Finding]:
    """Check that nothing waits in the dead-letter queue."""
    if not target.dead_letters_url:
        yield Finding(False, "there is no dead-letter queue", f"{_DEPLOY}, or name it with --dead-letters")
        return
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = target.aws.sqs.get_queue_attributes(QueueUrl=target.dead_letters_url, AttributeNames=names)
    count = sum(int(found["Attributes"].get(name, 0)) for name in names)
    name = target.dead_letters_url.rpartition("/")[2]
    advice = f"see what lies there: `llm-audit lambda redrive --queue {name} --dry-run`; mend it and redrive"
    yield Finding(count == 0, f"{count or 'no'} dead letter{'' if count == 1 else 's'} in {name}", advice)


def alarms(target: Target) -> Iterator[Finding]:
    """Check that there are alarms and that none rings."""
    pages = target.aws.cloudwatch.get_paginator("describe_alarms").paginate(
        AlarmNamePrefix=target.alarm_prefix
    )
    found: list[Any] = [one for page in pages for one in page["MetricAlarms"]]
    ringing = [one for one in found if one["StateValue"] == "ALARM"]
    for one in ringing:
        yield Finding(
            False, f"the alarm {one['AlarmName']} rings: {one.get('StateReason', '')}", "see its description"
        )
    if not found:
        yield Finding(False, f"there is no alarm whose name begins with {target.alarm_prefix}", _DEPLOY)
    elif not ringing:
        unsure = sum(one["StateValue"] == "INSUFFICIENT_DATA" for one in found)
        yield Finding(True, f"none of {len(found)} alarms rings ({unsure} without data yet)")
    deaf = [one["AlarmName"] for one in found if not one.get("ActionsEnabled") or not one.get("AlarmActions")]
    if deaf:
        advice = "give an address (parameter of the template) so that somebody hears it"
        yield Finding(False, f"{len(deaf)} of {len(found)} alarms tell nobody, such as {deaf[0]}", advice)
