"""The policy files: what the template grants, no more than is used, and enough, with IAM enforced.

The local AWS evaluates policies as AWS does for what is used here; it does not answer 403 for a missing object where
``s3:ListBucket`` is missing, so that reason for the permission shows on AWS alone.
"""

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from infra_templates import PSEUDO, ROOT, load, main_defaults, resolved
from local_aws import ACCOUNT, REGION, running_aws

TASK = ROOT / "aws/policies/ecs-task-audit-writer.json"
INLINE = ROOT / "infra/lambda/llm-audit-ingest/inline-policy.json"
TRUST = ROOT / "infra/lambda/llm-audit-ingest/trust-policy.json"
CONDITIONS = {"WithArchive": True}


def filled_in(path: Path, account_id: str) -> dict:
    """Give the file's policy with the account's id where the document says to fill it in."""
    return json.loads(path.read_text().replace("<ACCOUNT_ID>", account_id))


def role(template: str, name: str) -> dict:
    """Give a role as CloudFormation would make it with the defaults of main.yaml."""
    return resolved(load(template)["Resources"][name]["Properties"], main_defaults(), CONDITIONS)


@pytest.mark.parametrize(
    ("path", "template", "name"),
    [(TASK, "service.yaml", "TaskRole"), (INLINE, "ingest.yaml", "FunctionRole")],
)
def test_the_template_grants_word_for_word_what_the_policy_file_says(path, template, name):
    granted = role(template, name)["Policies"][0]
    assert granted["PolicyDocument"] == filled_in(path, PSEUDO["AWS::AccountId"])
    assert granted["PolicyName"] in {"ecs-task-audit-writer", "llm-audit-ingest-inline"}


def test_the_template_trusts_whom_the_trust_policy_file_trusts():
    assert role("ingest.yaml", "FunctionRole")["AssumeRolePolicyDocument"] == filled_in(TRUST, "")


@pytest.mark.parametrize("path", [TASK, INLINE, TRUST])
def test_a_policy_file_names_its_actions_its_resources_and_its_account(path):
    for statement in filled_in(path, "123456789012")["Statement"]:
        actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        assert not any("*" in action for action in actions)
        resources = statement.get("Resource", [])
        for arn in [resources] if isinstance(resources, str) else resources:
            _, _, service, region, owner, rest = arn.split(":", 5)
            if service == "s3":
                assert (region, owner) == ("", "")
                assert rest.partition("/")[0] in {"central-llm-audit", "central-llm-audit-raw"}
            else:
                assert (region, owner) == ("eu-central-1", "123456789012")
                assert "*" not in rest


def test_the_files_hold_no_account_but_the_placeholder():
    assert INLINE.read_text().count("<ACCOUNT_ID>") == 2
    assert "<" not in TASK.read_text() + TRUST.read_text()


@pytest.fixture(scope="module")
def enforcing(tmp_path_factory):
    """An account that enforces policies, with what the two policies speak of in it."""
    with running_aws(tmp_path_factory.mktemp("aws"), AUTH="true") as ours:
        s3 = ours.client("s3")
        for bucket in ("central-llm-audit", "central-llm-audit-raw"):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        for key in ("logs/2026/11/24/a.json", "logs-old/a.json"):
            s3.put_object(Bucket="central-llm-audit", Key=key, Body=b"{}")
        ours.client("dynamodb").create_table(
            TableName="CentralLLMAudit",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        for queue in ("llm-audit-dlq", "other"):
            ours.client("sqs").create_queue(QueueName=queue)
        yield ours


@pytest.fixture(scope="module")
def acting(enforcing):
    """Give clients of somebody who may do what a policy file says, and nothing else."""

    def act_under(path):
        iam = enforcing.client("iam")
        iam.create_user(UserName=path.stem)
        iam.put_user_policy(
            UserName=path.stem,
            PolicyName=path.stem,
            PolicyDocument=path.read_text().replace("<ACCOUNT_ID>", ACCOUNT),
        )
        key = iam.create_access_key(UserName=path.stem)["AccessKey"]
        return lambda service: enforcing.client(
            service, key=key["AccessKeyId"], secret=key["SecretAccessKey"]
        )

    return {path: act_under(path) for path in (TASK, INLINE)}


LOGGED = {"Bucket": "central-llm-audit", "Key": "logs/2026/11/24/a.json"}
COPY = {
    "Bucket": "central-llm-audit-raw",
    "Key": LOGGED["Key"],
    "CopySource": LOGGED,
    "TaggingDirective": "REPLACE",
}
ITEM = {"TableName": "CentralLLMAudit", "Item": {"id": {"S": "project#a"}}}
URL = f"/{ACCOUNT}/llm-audit-dlq"

ALLOWED = [
    (TASK, "s3", "put_object", LOGGED | {"Key": "logs/2026/11/24/b.json", "IfNoneMatch": "*"}),
    (TASK, "s3", "get_object", LOGGED),
    (TASK, "s3", "list_objects_v2", {"Bucket": "central-llm-audit", "Prefix": "logs/"}),
    (INLINE, "s3", "get_object", LOGGED),
    (INLINE, "s3", "list_objects_v2", {"Bucket": "central-llm-audit"}),
    (INLINE, "s3", "copy_object", COPY | {"ACL": "bucket-owner-full-control"}),
    (INLINE, "dynamodb", "put_item", ITEM),
    (INLINE, "sqs", "send_message", {"QueueUrl": URL, "MessageBody": "{}"}),
]
REFUSED = [
    (TASK, "s3", "put_object", LOGGED | {"Key": "logs-old/b.json"}),
    (TASK, "s3", "put_object", LOGGED | {"Bucket": "central-llm-audit-raw"}),
    (TASK, "s3", "get_object", LOGGED | {"Key": "logs-old/a.json"}),
    (TASK, "s3", "list_objects_v2", {"Bucket": "central-llm-audit"}),
    (TASK, "s3", "delete_object", LOGGED),
    (TASK, "dynamodb", "put_item", ITEM),
    (INLINE, "s3", "put_object", LOGGED),
    (INLINE, "s3", "delete_object", LOGGED),
    (INLINE, "s3", "copy_object", COPY),
    (INLINE, "dynamodb", "scan", {"TableName": "CentralLLMAudit"}),
    (INLINE, "dynamodb", "delete_item", {"TableName": "CentralLLMAudit", "Key": ITEM["Item"]}),
    (INLINE, "sqs", "send_message", {"QueueUrl": URL.replace("llm-audit-dlq", "other"), "MessageBody": "{}"}),
    (INLINE, "sqs", "receive_message", {"QueueUrl": URL}),
]


def do(acting, enforcing, path, service, operation, arguments):
    if "QueueUrl" in arguments:
        arguments = arguments | {"QueueUrl": enforcing.endpoint + arguments["QueueUrl"]}
    return getattr(acting[path](service), operation)(**arguments)


def test_the_policy_files_allow_what_is_done_and_nothing_else(acting, enforcing):
    for case in ALLOWED:
        answer = do(acting, enforcing, *case)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200, case
    for case in REFUSED:
        with pytest.raises(ClientError) as refused:
            do(acting, enforcing, *case)
        assert refused.value.response["Error"]["Code"] in {"AccessDenied", "AccessDeniedException"}, case
