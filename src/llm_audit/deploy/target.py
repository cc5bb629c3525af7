"""What ``doctor --aws`` looks at: the parts of one system, named by a stack's outputs or one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llm_audit.deploy.clients import Aws
from llm_audit.deploy.errors import DeployError, WrongUsageError
from llm_audit.deploy.stacks import Stack, Stacks

NAME_PREFIX = "llm-audit"
TABLE = "CentralLLMAudit"
FUNCTION = "llm-audit-ingest"
DEAD_LETTERS = "llm-audit-dlq"


@dataclass(frozen=True, slots=True)
class Target:
    """One system. Empty strings where something is not known: what needs it is then not looked at."""

    aws: Aws
    stack: Stack | None
    api_url: str
    """Of the gateway's stage, without a slash at its end."""
    api_key: str
    """A caller's key; never shown."""
    bucket: str
    prefix: str
    table: str
    function: str
    dead_letters_url: str
    alarm_prefix: str
    expected_code: str
    """``CodeSha256`` of the zip that this version builds."""
    wait_seconds: float

    @property
    def role(self) -> str:
        """ARN of the function's role."""
        return self.aws.functions.get_function_configuration(FunctionName=self.function)["Role"]

    def object_arn(self, key: str = "") -> str:
        """Give the ARN of the bucket, or of an object in it."""
        return f"arn:{self.aws.partition}:s3:::{self.bucket}{'/' + key if key else ''}"

    def table_arn(self) -> str:
        """Give the table's ARN."""
        return f"arn:{self.aws.partition}:dynamodb:{self.aws.region}:{self.aws.account}:table/{self.table}"


@dataclass(frozen=True, slots=True)
class Named:
    """What was named on the command line; None where it was not."""

    stack: str | None
    api_url: str | None
    api_key: str | None
    bucket: str | None
    prefix: str
    table: str | None
    function: str | None
    dead_letters: str | None


def find_target(aws: Aws, named: Named, expected_code: str, wait_seconds: float) -> Target:
    """Put together what was named and what the stack says. Raises DeployError, WrongUsageError."""
    stack = Stacks(aws.cloudformation).find(named.stack) if named.stack else None
    if named.stack and stack is None:
        raise DeployError(
            f"there is no stack {named.stack} in this account and region", "check --stack, AWS_REGION"
        )
    outputs: Mapping[str, str] = stack.outputs if stack else {}
    bucket = named.bucket or outputs.get("AuditBucketName", "")
    if not bucket:
        raise WrongUsageError("which bucket holds the records?", "give --stack, or --bucket s3://NAME")
    api_url = named.api_url or outputs.get("ApiUrl", "")
    if not named.api_url and aws.endpoint_url:
        api_url = (
            ""  # the stack's output names Amazon's gateway, which another endpoint than Amazon's has not
        )
    prefix = stack.parameters.get("NamePrefix", NAME_PREFIX) if stack else NAME_PREFIX
    return Target(
        aws=aws,
        stack=stack,
        api_url=api_url.rstrip("/"),
        api_key=named.api_key or _key(aws, outputs.get("FirstKeyId", "")),
        bucket=bucket.removeprefix("s3://"),
        prefix=named.prefix,
        table=named.table or outputs.get("TableName", TABLE),
        function=named.function or outputs.get("FunctionName", FUNCTION),
        dead_letters_url=_queue(aws, named.dead_letters or outputs.get("DeadLettersUrl", DEAD_LETTERS)),
        alarm_prefix=prefix,
        expected_code=expected_code,
        wait_seconds=wait_seconds,
    )


def _key(aws: Aws, key_id: str) -> str:
    """Give the value of a key of the gateway; empty where there is none, or it may not be read."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - boto3 is an extra

    if not key_id:
        return ""
    try:
        return aws.apigateway.get_api_key(apiKey=key_id, includeValue=True).get("value", "")
    except ClientError:
        return ""


def _queue(aws: Aws, queue: str) -> str:
    """Give a queue's URL; empty where there is none of that name, or it may not be looked up."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - boto3 is an extra

    if "://" in queue:
        return queue
    try:
        return aws.sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    except ClientError:
        return ""
