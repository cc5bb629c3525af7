"""The templates deployed for real, as far as the local AWS makes what is in them.

It knows neither ``AWS::ApiGateway::VpcLink`` nor ``AWS::Athena::NamedQuery`` and has no machines, so the model server's half
and the named queries stay out. It silently ignores TTL, point-in-time recovery, encryption of tables, lifecycles, a
function's dead-letter queue and a method's validator where CloudFormation sets them: of those the linter, the scanner and
the guard rules speak (test_templates.py, test_guard.py), and the chain's tests set the last two again. It cannot update a
nested stack (what did not change loses its attributes), so a second way to run is deployed anew.
"""

import hashlib
import io
import json
import zipfile

import pytest
from botocore.exceptions import ClientError

from infra_templates import FOLDER, main_defaults, template_names
from local_aws import ACCOUNT, REGION, running_aws

STACK = "central-llm-audit"
HALF = {
    "WithModelServer": "false",
    "WithNamedQueries": "false",
    "UpstreamUrl": "http://127.0.0.1:8000",
    "AlarmEmail": "audit@example.com",
}


def uploaded(aws):
    """Upload folder and code as README.md says; give the two parameters that name them."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("handler.py", "def lambda_handler(event, context):\n    return event\n")
    files = {name: (FOLDER / name).read_bytes() for name in template_names()}
    files["llm-audit-ingest.zip"] = code.getvalue()
    prefix = hashlib.sha256(b"".join(files.values())).hexdigest()
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": REGION})
    for name, content in files.items():
        s3.put_object(Bucket="artifacts", Key=f"{prefix}/{name}", Body=content)
    return {"ArtifactsBucket": "artifacts", "ArtifactsPrefix": prefix}


def deployed(aws, parameters):
    """Create the stack, wait for it, give its outputs."""
    cloudformation = aws.client("cloudformation")
    cloudformation.create_stack(
        StackName=STACK,
        TemplateBody=(FOLDER / "main.yaml").read_text(),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    waited = {"Delay": 1, "MaxAttempts": 100}
    cloudformation.get_waiter("stack_create_complete").wait(StackName=STACK, WaiterConfig=waited)
    (stack,) = cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def check_storage(aws):
    s3 = aws.client("s3")
    for bucket in ("central-llm-audit", "central-llm-audit-raw", "central-llm-audit-access-logs"):
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
        blocked = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert all(blocked.values())
        policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
        assert policy["Statement"][0]["Sid"] == "DenyWithoutTls"
    table = aws.client("dynamodb").describe_table(TableName="CentralLLMAudit")["Table"]
    assert {index["IndexName"] for index in table["GlobalSecondaryIndexes"]} == {
        "GSI_UserTime",
        "GSI_StatusTime",
        "GSI_ProjectLatency",
    }


def notified(aws):
    """Give what the audit bucket notifies, with the key filter's prefix."""
    told = aws.client("s3").get_bucket_notification_configuration(Bucket="central-llm-audit")
    found = {}
    for kind, member in (("Lambda", "LambdaFunctionArn"), ("Queue", "QueueArn")):
        for one in told.get(f"{kind}{'Function' if kind == 'Lambda' else ''}Configurations", []):
            (rule,) = one["Filter"]["Key"]["FilterRules"]
            found[one[member]] = (one["Events"], rule["Value"])
    return found


def check_gateway(aws, outputs):
    gateway = aws.client("apigateway")
    (plan,) = gateway.get_usage_plans()["items"]
    assert plan["name"] == "central-llm-usage-plan"
    (stage,) = plan["apiStages"]
    assert (stage["apiId"], stage["stage"]) == (outputs["ApiId"], "prod")
    (path,) = [
        one["id"]
        for one in gateway.get_resources(restApiId=outputs["ApiId"])["items"]
        if one["path"] == "/{proxy+}"
    ]
    method = gateway.get_method(restApiId=outputs["ApiId"], resourceId=path, httpMethod="ANY")
    headers = method["methodIntegration"]["requestParameters"]
    secret = aws.client("secretsmanager").describe_secret(SecretId="llm-audit/gateway-secret")
    assert headers["integration.request.header.x-llm-gateway-key-id"] == "context.identity.apiKeyId"
    # AWS would have put the value in its place; here, nested stacks' references to secrets stay as they are.
    reference = f"'{{{{resolve:secretsmanager:{secret['Name']}:SecretString}}}}'"
    assert headers["integration.request.header.x-llm-gateway-secret"] == reference


def test_the_half_without_a_model_server_comes_up_and_leaves_the_evidence_behind(tmp_path):
    function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:llm-audit-ingest"
    with running_aws(tmp_path) as aws:
        outputs = deployed(aws, uploaded(aws) | HALF)
        check_storage(aws)
        check_gateway(aws, outputs)
        assert notified(aws) == {function: (["s3:ObjectCreated:Put"], "logs/")}
        configuration = aws.client("lambda").get_function_configuration(FunctionName="llm-audit-ingest")
        assert configuration["Environment"]["Variables"] == {
            "TABLE_NAME": "CentralLLMAudit",
            "MAX_PREVIEW_CHARS": "2048",
            "STATUS_SHARDS": "1",
            "RETENTION_DAYS": str(main_defaults()["RetentionDays"]),
            "RAW_ARCHIVE_BUCKET": "central-llm-audit-raw",
        }
        cloudformation = aws.client("cloudformation")
        cloudformation.delete_stack(StackName=STACK)
        waited = {"Delay": 1, "MaxAttempts": 100}
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=STACK, WaiterConfig=waited)
        check_storage(aws)
        with pytest.raises(ClientError):
            aws.client("lambda").get_function(FunctionName="llm-audit-ingest")


def test_with_a_queue_in_between_the_bucket_tells_the_queue_and_batches_fail_in_part(tmp_path):
    queue = f"arn:aws:sqs:{REGION}:{ACCOUNT}:llm-audit-ingest"
    with running_aws(tmp_path) as aws:
        without_gateway = {name: value for name, value in HALF.items() if name != "UpstreamUrl"}
        outputs = deployed(
            aws,
            uploaded(aws)
            | without_gateway
            | {"IngestMode": "sqs", "RetentionDays": "0", "ArchiveBucketName": ""},
        )
        assert "ApiUrl" not in outputs
        assert notified(aws) == {queue: (["s3:ObjectCreated:Put"], "logs/")}
        (mapping,) = aws.client("lambda").list_event_source_mappings()["EventSourceMappings"]
        assert mapping["EventSourceArn"] == queue
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        url = aws.client("sqs").get_queue_url(QueueName="llm-audit-ingest")["QueueUrl"]
        attributes = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])[
            "Attributes"
        ]
        assert json.loads(attributes["RedrivePolicy"])["deadLetterTargetArn"].endswith(":llm-audit-dlq")
        configuration = aws.client("lambda").get_function_configuration(FunctionName="llm-audit-ingest")
        assert set(configuration["Environment"]["Variables"]) == {
            "TABLE_NAME",
            "MAX_PREVIEW_CHARS",
            "STATUS_SHARDS",
        }


def test_a_model_server_without_a_place_is_refused_with_advice(tmp_path):
    with running_aws(tmp_path) as aws:
        with pytest.raises(ClientError) as refused:
            deployed(aws, uploaded(aws))
        message = refused.value.response["Error"]["Message"]
        assert "VpcId says where proxy and model server go" in message
