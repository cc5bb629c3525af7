"""The whole system on a local AWS: deployed by our command, its proxy running, called through its gateway.

What the local AWS (ministack 1.5) leaves out of the template is applied again through the API, as the requirement
document's own commands do: the function's dead-letter queue, the method's header validator, the table's recovery and
time to live, the bucket's lifecycle. It also ignores the integration's header mappings, so no key id and no secret
reach the proxy, and drops the proxy's response headers: callers here give their own request ids. Deleting a nested
stack, it forgets that resources are to be retained: taking down is tested with a flat template (``test_aws``).
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from cli.served import Served
from demo_process import demo_process
from llm_audit.deploy.clients import Aws
from local_aws import LocalAws, connect, inherited

ROOT = Path(__file__).parents[1]
STACK = "chain"
BUCKET = "central-llm-audit"
TABLE = "CentralLLMAudit"
FUNCTION = "llm-audit-ingest"
QUEUE_URL_END = "/llm-audit-dlq"
CALLER = {"x-llm-source": "chain", "x-llm-user": "somebody", "x-llm-request-type": "ask"}
PARAMETERS = {
    "WithModelServer": "false",  # no ECS and no EC2 here: the proxy runs as a process of its own
    "WithNamedQueries": "false",  # which the local AWS does not know
    "RequestsPerSecond": "500",
    "Burst": "500",
}


@dataclass
class Stage:
    """A deployed system. ``acknowledged`` holds the id of every call that was answered with 200."""

    local: LocalAws
    folder: Path
    served: Served
    api: str = ""
    key: str = ""
    acknowledged: set[str] = field(default_factory=set)

    @cached_property
    def aws(self) -> Aws:
        """Our own clients."""
        return self.local.aws()

    def run(self, *arguments: str, code: int = 0, environ: dict[str, str] | None = None) -> str:
        """Run ``llm-audit`` as a process; give what it printed. Its exit code must be ``code``."""
        told = {**inherited(), **self.local.environ, **(environ or {})}
        command = [sys.executable, "-m", "llm_audit", *arguments]
        done = subprocess.run(
            command, env=told, cwd=self.folder, capture_output=True, text=True, timeout=90, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def url(self) -> str:
        """The gateway's stage, as the local AWS serves it."""
        return f"{self.local.endpoint}/_aws/execute-api/{self.api}/prod"

    def ask(self, method: str, path: str, headers: dict[str, str], body: Any = None) -> tuple[int, bytes]:
        """Make one call through the gateway; status and body."""
        parts = urlsplit(self.url)
        with contextlib.closing(connect(parts.netloc, self.local.certificate)) as connection:
            content = None if body is None else json.dumps(body)
            connection.request(
                method, parts.path + path, content, {"content-type": "application/json", **headers}
            )
            response = connection.getresponse()
            return response.status, response.read()

    def chat(self, text: str = "Say hello.", *, stream: bool = False, **headers: str | None) -> int:
        """Make a chat call as a known caller; a header given as None is left out. Remembers it if it was answered."""
        request_id = str(uuid.uuid4())
        all_headers = {**CALLER, "x-api-key": self.key, "x-request-id": request_id}
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in (all_headers | changed).items() if value is not None}
        body = {"model": "demo", "messages": [{"role": "user", "content": text}], "stream": stream}
        status, content = self.ask("POST", "/v1/chat/completions", sent, body)
        if status == 200:
            assert b"[DONE]" in content if stream else json.loads(content)["choices"]
            self.acknowledged.add(request_id)
        return status

    def objects(self) -> dict[str, dict[str, Any]]:
        """Give every record in the bucket, by request id; no id may have two."""
        s3, found = self.aws.s3, {}
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="logs/"):
            for entry in page.get("Contents", []):
                document = json.loads(s3.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read())
                assert document["requestId"] not in found
                found[document["requestId"]] = document
        return found

    def items(self, index: str | None = None) -> list[str]:
        """Give the request id of every item in the table, or of every one in an index."""
        told = {"IndexName": index} if index else {}
        pages = self.aws.dynamodb.get_paginator("scan").paginate(TableName=TABLE, **told)
        return sorted(item["requestId"]["S"] for page in pages for item in page["Items"])

    def dead_letters(self) -> int:
        """Count what waits in the dead-letter queue."""
        sqs = self.aws.sqs
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        url = sqs.get_queue_url(QueueName="llm-audit-dlq")["QueueUrl"]
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(map(int, found.values()))

    def lambda_workers(self) -> list[psutil.Process]:
        """Give the processes that run the function now."""
        found = []
        for process in psutil.Process(self.local.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.environ().get("AWS_LAMBDA_FUNCTION_NAME") == FUNCTION:
                    found.append(process)
        return found

    def configure_function(self, **variables: str) -> None:
        """Set further variables of the function."""
        functions = self.aws.functions
        present = functions.get_function_configuration(FunctionName=FUNCTION)["Environment"]["Variables"]
        functions.update_function_configuration(
            FunctionName=FUNCTION, Environment={"Variables": {**present, **variables}}
        )

    def apply_what_is_left_out(self) -> None:
        """Apply what this AWS ignores of the template."""
        aws = self.aws
        arn = f"arn:aws:sqs:{aws.region}:{aws.account}:llm-audit-dlq"
        aws.functions.update_function_configuration(
            FunctionName=FUNCTION, DeadLetterConfig={"TargetArn": arn}
        )
        aws.dynamodb.update_continuous_backups(
            TableName=TABLE, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )
        aws.dynamodb.update_time_to_live(
            TableName=TABLE, TimeToLiveSpecification={"AttributeName": "expiresAt", "Enabled": True}
        )
        rule = {"ID": "to-glacier", "Status": "Enabled", "Filter": {"Prefix": ""}}
        transitions: Any = [{"Days": 90, "StorageClass": "GLACIER_IR"}]
        aws.s3.put_bucket_lifecycle_configuration(
            Bucket=BUCKET,
            LifecycleConfiguration={"Rules": [{**rule, "Transitions": transitions}]},
        )
        self.enforce_headers()

    def enforce_headers(self) -> None:
        """Section 3 of the requirement document."""
        gateway = self.aws.apigateway
        validator = gateway.create_request_validator(
            restApiId=self.api,
            name="validate-headers-and-body",
            validateRequestParameters=True,
            validateRequestBody=True,
        )["id"]
        resources = gateway.get_resources(restApiId=self.api)["items"]
        (resource,) = (one["id"] for one in resources if one["path"] == "/{proxy+}")
        gateway.update_method(
            restApiId=self.api,
            resourceId=resource,
            httpMethod="ANY",
            patchOperations=[{"op": "replace", "path": "/requestValidatorId", "value": validator}],
        )
        gateway.create_deployment(restApiId=self.api, stageName="prod")

    def limit(self, rate: float, burst: int) -> None:
        """Set what one key may ask for."""
        gateway = self.aws.apigateway
        (plan,) = (one["id"] for one in gateway.get_usage_plans()["items"])
        gateway.update_usage_plan(
            usagePlanId=plan,
            patchOperations=[
                {"op": "replace", "path": "/throttle/rateLimit", "value": str(rate)},
                {"op": "replace", "path": "/throttle/burstLimit", "value": str(burst)},
            ],
        )


@contextmanager
def staged(
    local: LocalAws, folder: Path, proxy_environ: dict[str, str] | None = None, **parameters: str
) -> Iterator[Stage]:
    """Start the proxy in front of the demo model server, on the bucket that is about to be, and deploy the stack.

    The proxy comes first: its port is a parameter. Its shipper finds no bucket for a moment, and waits.
    """
    with demo_process() as upstream:
        command = [sys.executable, "-m", "llm_audit", "serve", "--upstream", upstream]
        environ = {**local.environ, "AUDIT_BUCKET": f"s3://{BUCKET}", **(proxy_environ or {})}
        served = Served(folder, command, **environ)
        try:
            stage = Stage(local, folder, served.ready())
            address = served.status()["listen"]
            told = {**PARAMETERS, "UpstreamUrl": f"http://{address}", **parameters}
            options = [word for name, value in told.items() for word in ("--parameter", f"{name}={value}")]
            stage.run("aws", "deploy", "--stack", STACK, *options)
            stage.api = stage.run("aws", "outputs", "ApiId", "--stack", STACK).strip()
            key_id = stage.run("aws", "outputs", "FirstKeyId", "--stack", STACK).strip()
            stage.key = local.aws().apigateway.get_api_key(apiKey=key_id, includeValue=True)["value"]
            stage.apply_what_is_left_out()
            yield stage
        finally:
            served.end()


def task_credentials(iam: Any) -> dict[str, str]:
    """Make somebody with the policy that the document gives to the ECS task role, and with nothing else."""
    policy = (ROOT / "aws" / "policies" / "ecs-task-audit-writer.json").read_text()
    iam.create_user(UserName="task")
    iam.put_user_policy(UserName="task", PolicyName="ecs-task-audit-writer", PolicyDocument=policy)
    key = iam.create_access_key(UserName="task")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
