"""Runs every command of docs/deploy.md, and the requirement document's own, against a local AWS that enforces policies."""

import json
import os
import re
import urllib.request
import uuid
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from aws_command import aws_command
from cli.served import free_port
from cli.waiting import eventually
from docs.walkthrough import checkout, commands, container, role_environ, with_zip
from local_aws import ACCOUNT, REGION, inherited, running_aws

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/deploy.md").read_text()
REQUIREMENT = (Path(__file__).parent / "requirement/central-llm-audit.md").read_text()
CALLER = {"x-llm-source": "finance-app", "x-llm-user": "jane", "x-llm-request-type": "ask"}
INDEXES = {
    "GSI_UserTime": ("userIdPk", "user#jane"),
    "GSI_StatusTime": ("statusPk", "status#200"),
    "GSI_ProjectLatency": ("latencyPk", "project#finance-app"),
}


def blocks(text):
    """Every shell block, without the indentation of the list that it may stand in."""
    found = re.findall(r"^([ ]*)```bash\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def filled(text, values):
    """Fill in what a reader fills in; each must be there, and nothing may be left."""
    for said, meant in values.items():
        assert said in text, said
        text = text.replace(said, meant)
    assert "YOUR-" not in text
    return text


@pytest.fixture
def aws(tmp_path):
    (tmp_path / "account").mkdir()
    with running_aws(tmp_path / "account", AUTH="true") as one:
        yield one


@pytest.fixture
def shell(aws, tmp_path):
    folder = checkout(tmp_path / "checkout")
    with aws_command(tmp_path / "programs") as programs:
        with_zip(programs)
        environ = inherited() | aws.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
        with commands(folder, environ) as one:
            yield one


def call(url, key, headers):
    body = {"model": "mistral8b", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json", **({"x-api-key": key} if key else {}), **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def assert_one_call_on_record(aws, request_id):
    """One object, one item, in the table and in each index; and the record says what was called."""
    s3, table = aws.client("s3"), aws.client("dynamodb")
    (found,) = s3.list_objects_v2(Bucket="central-llm-audit", Prefix="logs/")["Contents"]
    assert re.fullmatch(rf"logs/\d{{4}}/\d\d/\d\d/{request_id}\.json", found["Key"])
    record = json.loads(s3.get_object(Bucket="central-llm-audit", Key=found["Key"])["Body"].read())
    assert (record["outcome"], record["statusCode"], record["source"]) == ("complete", 200, "finance-app")
    (item,) = eventually(lambda: table.scan(TableName="CentralLLMAudit")["Items"], every=0.1)
    assert item["requestId"]["S"] == request_id
    assert item["auditObjectKey"]["S"] == found["Key"]
    for name, (attribute, value) in INDEXES.items():
        answer = table.query(
            TableName="CentralLLMAudit",
            IndexName=name,
            KeyConditionExpression=f"{attribute} = :value",
            ExpressionAttributeValues={":value": {"S": value}},
        )
        assert [one["requestId"]["S"] for one in answer["Items"]] == [request_id]
    return record


def allow_without_tls(aws, environ):
    """Take back the policy that demands TLS, which the local AWS does not speak; and see that it was in force."""
    role = {
        "aws_access_key_id": environ["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": environ["AWS_SECRET_ACCESS_KEY"],
        "aws_session_token": environ["AWS_SESSION_TOKEN"],
    }
    s3 = boto3.client("s3", endpoint_url=aws.endpoint, region_name=REGION, **role)
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.put_object(Bucket="central-llm-audit", Key="logs/a", Body=b"")
    aws.client("s3").delete_bucket_policy(Bucket="central-llm-audit")


def mapped_headers(aws):
    """What the one API's integration tells the proxy."""
    gateway = aws.client("apigateway")
    (one,) = gateway.get_rest_apis()["items"]
    (resource,) = [r for r in gateway.get_resources(restApiId=one["id"])["items"] if r["path"] == "/{proxy+}"]
    where = {"restApiId": one["id"], "resourceId": resource["id"], "httpMethod": "ANY"}
    return gateway.get_integration(**where)["requestParameters"]


def prepare_deployment(aws):
    """Make what section 6 expects: the build project, its repository with an image, the service."""
    ecr, ecs = aws.client("ecr"), aws.client("ecs")
    ecr.create_repository(repositoryName="mistral8b-vllm")
    ecr.put_image(repositoryName="mistral8b-vllm", imageManifest='{"schemaVersion": 2}', imageTag="0.1.0-abc")
    aws.client("codebuild").create_project(
        name="mistral8b-vllm-build",
        source={"type": "NO_SOURCE", "buildspec": (ROOT / "buildspec.yml").read_text()},
        artifacts={"type": "NO_ARTIFACTS"},
        environment={"type": "LINUX_CONTAINER", "image": "a", "computeType": "BUILD_GENERAL1_LARGE"},
        serviceRole=f"arn:aws:iam::{ACCOUNT}:role/build",
    )
    ecs.create_cluster(clusterName="llm-audit")
    ecs.register_task_definition(
        family="llm-audit",
        containerDefinitions=[
            {
                "name": "audit-proxy",
                "image": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/mistral8b-vllm@sha256:{'0' * 64}",
                "memory": 1024,
                "environment": [{"name": "AUDIT_BUCKET", "value": "central-llm-audit"}],
            }
        ],
    )
    ecs.create_service(
        cluster="llm-audit", serviceName="llm-audit", taskDefinition="llm-audit", desiredCount=0
    )


@pytest.mark.timeout(300)  # some sixty commands, on a machine that may be busy
def test_every_command_of_the_page_works_in_order_and_ends_with_a_call_on_record(aws, shell, tmp_path):
    port = free_port()
    script = filled(
        "\n".join(blocks(PAGE)),
        {
            "BACKEND=http://YOUR-PROXY:8000": f"BACKEND=http://127.0.0.1:{port}",
            "https://$API_ID.execute-api.eu-central-1.amazonaws.com/prod": f"{aws.endpoint}/_aws/execute-api/$API_ID/prod",
            "YOUR-SUBNET": "subnet-0a1b2c3d",
            "YOUR-SECURITY-GROUP": "sg-0a1b2c3d",
            "YOUR-INSTANCE-PROFILE": "llm-audit-node",
        },
    )
    deploy, call_it = script[: script.index("API_URL=")], script[script.index("API_URL=") :]
    prepare_deployment(aws)
    shell.run(deploy)
    secret = aws.client("secretsmanager").get_secret_value(SecretId="llm-audit/gateway")["SecretString"]
    environ = role_environ(aws, "ecsTaskRole")
    allow_without_tls(aws, environ)
    with container(tmp_path / "container", port, free_port(), AUDIT_GATEWAY_SECRET=secret, **environ):
        shell.run(f'{call_it}\nprintf %s "$REQUEST_ID" >request-id')
    assert_one_call_on_record(aws, (tmp_path / "checkout/request-id").read_text())
    # The emulator ignores an integration's header mappings: the proxy saw neither. So they are looked at here.
    assert mapped_headers(aws) == {
        "integration.request.path.proxy": "method.request.path.proxy",
        "integration.request.header.x-llm-gateway-key-id": "context.identity.apiKeyId",
        "integration.request.header.x-llm-gateway-secret": f"'{secret}'",
    }
    service = aws.client("ecs").describe_services(cluster="llm-audit", services=["llm-audit"])["services"][0]
    assert service["taskDefinition"].endswith("llm-audit:2")


def api(aws, backend):
    """Make what the requirement document takes for granted: the role, and an API with a method that wants a key."""
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    aws.client("iam").create_role(RoleName="ecsTaskRole", AssumeRolePolicyDocument=json.dumps(trust))
    gateway = aws.client("apigateway")
    api_id = gateway.create_rest_api(name="central-llm")["id"]
    root = gateway.get_resources(restApiId=api_id)["items"][0]["id"]
    proxy = gateway.create_resource(restApiId=api_id, parentId=root, pathPart="{proxy+}")["id"]
    place = {"restApiId": api_id, "resourceId": proxy, "httpMethod": "ANY"}
    gateway.put_method(
        **place,
        authorizationType="NONE",
        apiKeyRequired=True,
        requestParameters={"method.request.path.proxy": True},
    )
    gateway.put_integration(
        **place,
        type="HTTP_PROXY",
        integrationHttpMethod="ANY",
        uri=f"{backend}/{{proxy}}",
        requestParameters={"integration.request.path.proxy": "method.request.path.proxy"},
    )
    gateway.create_deployment(restApiId=api_id, stageName="prod")
    stages = [{"apiId": api_id, "stage": "prod"}]
    plan = gateway.create_usage_plan(name="central-llm-usage-plan", apiStages=stages)["id"]
    key = gateway.create_api_key(name="finance-app", enabled=True)
    gateway.create_usage_plan_key(usagePlanId=plan, keyId=key["id"], keyType="API_KEY")
    return api_id, key["value"]


@pytest.mark.timeout(300)  # some sixty commands, on a machine that may be busy
def test_the_requirement_documents_own_commands_fit_our_artifacts(aws, shell, tmp_path):
    port = free_port()
    api_id, key = api(aws, f"http://127.0.0.1:{port}")
    unquoted = "Variables={TABLE_NAME=CentralLLMAudit,MAX_PREVIEW_CHARS=2048}"
    values = {"b3yr01g4hh": api_id, "<ACCOUNT_ID>": ACCOUNT, unquoted: f"'{unquoted}'"}
    policy = tmp_path / "checkout/infra/lambda/llm-audit-ingest/inline-policy.json"
    policy.write_text(policy.read_text().replace("<ACCOUNT_ID>", ACCOUNT))  # as the document asks for
    shell.run(filled("\n".join(blocks(REQUIREMENT)), values))
    with container(tmp_path / "container", port, free_port(), **role_environ(aws, "ecsTaskRole")):
        url = f"{aws.endpoint}/_aws/execute-api/{api_id}/prod"
        request_id = str(uuid.uuid4())
        assert call(url, None, CALLER)[0] == 403
        assert call(url, key, CALLER | {"x-llm-user": ""})[0] == 400
        assert call(url, key, {name: CALLER[name] for name in ("x-llm-source", "x-llm-user")})[0] == 400
        status, answer = call(url, key, CALLER | {"x-request-id": request_id})
        assert (status, answer["object"]) == (200, "chat.completion")
        bucket = {"Bucket": "central-llm-audit", "Prefix": "logs/"}
        eventually(lambda: "Contents" in aws.client("s3").list_objects_v2(**bucket))
    assert_one_call_on_record(aws, request_id)


def test_the_page_walks_through_the_documents_seven_sections_in_its_order():
    sections = re.findall(r"^## (\d)\. (.+)$", REQUIREMENT, re.MULTILINE)
    ours = re.findall(r"^## (\d)\. (.+)$", PAGE, re.MULTILINE)
    assert [(number, title.lower()) for number, title in sections] == [
        (number, title.lower()) for number, title in ours if number != "0"
    ]


def test_every_path_that_the_document_names_is_there():
    named = set(re.findall(r"`((?:aws|infra|scripts|docker)/[\w./-]+)`", REQUIREMENT))
    assert len(named) == 8
    for path in named:
        assert (ROOT / path).exists(), path


def test_what_the_page_links_to_is_there():
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
