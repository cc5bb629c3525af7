"""What ``doctor --aws`` says of parts that are set wrongly, each made so on a local AWS; the chain's test has them right."""

import io
import json
import zipfile
from dataclasses import replace

import pytest
from click.testing import CliRunner

from llm_audit.cli.main import main
from llm_audit.deploy import check_chain, check_ingest, check_queue, check_storage
from llm_audit.deploy.errors import DeployError, WrongUsageError
from llm_audit.deploy.findings import looked_at
from llm_audit.deploy.target import Named, Target, find_target

NOTHING = Named(None, None, None, None, "logs", None, None, None)


@pytest.fixture
def target(aws, name):
    return Target(
        aws=aws,
        stack=None,
        api_url="",
        api_key="",
        bucket=name,
        prefix="logs",
        table=name,
        function=name,
        dead_letters_url="",
        alarm_prefix=name,
        expected_code="",
        wait_seconds=1.0,
    )


@pytest.fixture
def bare_bucket(aws, name):
    aws.s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": aws.region})
    return name


def problems(check, target):
    return [finding.what for finding in looked_at(check, target) if finding.is_ok is False]


def test_a_bare_bucket_lacks_everything_that_keeps_records_safe(target, bare_bucket):
    said = problems(check_storage.bucket, target)
    for words in (
        f"versioning of {bare_bucket} is off",
        f"public access to {bare_bucket} is not blocked by",
        f"{bare_bucket} does not demand TLS",
        f"lifecycle of {bare_bucket}: none",
    ):
        assert any(line.startswith(words) for line in said), said


def test_a_bucket_that_is_not_there_is_one_problem_and_no_crash(target):
    (said,) = problems(check_storage.bucket, target)
    assert "NoSuchBucket" in said


def test_a_table_without_indexes_names_each_that_is_missing(target, aws, name):
    aws.dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    said = problems(check_storage.table, target)
    for index in ("GSI_UserTime", "GSI_StatusTime", "GSI_ProjectLatency"):
        assert f"the table {name} has no index {index}" in said
    assert f"deletion protection of {name} is off" in said
    assert f"point-in-time recovery of {name} is DISABLED" in said


def test_a_bucket_that_tells_nobody_is_a_problem_and_one_that_tells_of_other_keys_too(
    target, aws, bare_bucket
):
    assert problems(check_ingest.notification, target) == [
        f"{bare_bucket} tells nobody of new objects below logs/"
    ]
    url = aws.sqs.create_queue(QueueName=bare_bucket)["QueueUrl"]
    arn = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]

    def tell(prefix):
        rules = [{"Name": "prefix", "Value": prefix}]
        told = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*"], "Filter": {"Key": {"FilterRules": rules}}}
        aws.s3.put_bucket_notification_configuration(
            Bucket=bare_bucket, NotificationConfiguration={"QueueConfigurations": [told]}
        )

    tell("other/")
    assert problems(check_ingest.notification, target) == [
        f"{bare_bucket} tells nobody of new objects below logs/"
    ]
    tell("logs/")
    assert problems(check_ingest.notification, target) == []


@pytest.fixture
def reading_function(aws, name):
    """A function, a queue that the bucket could tell, and its dead letters; the function does not read it yet."""
    with zipfile.ZipFile(code := io.BytesIO(), "w") as archive:
        archive.writestr("handler.py", "def lambda_handler(event, context):\n    return {}\n")
    aws.functions.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role=f"arn:aws:iam::{aws.account}:role/any",
        Handler="handler.lambda_handler",
        Timeout=60,
        Code={"ZipFile": code.getvalue()},
    )
    url = aws.sqs.create_queue(QueueName=name)["QueueUrl"]
    aws.sqs.create_queue(QueueName=f"{name}-dlq")
    return url, f"arn:aws:sqs:{aws.region}:{aws.account}:{name}"


def test_a_queue_that_nobody_reads_is_a_problem_and_no_queue_is_none(
    target, aws, name, bare_bucket, reading_function
):
    assert list(looked_at(check_queue.queue, target)) == []
    told = {"QueueArn": reading_function[1], "Events": ["s3:ObjectCreated:Put"]}
    aws.s3.put_bucket_notification_configuration(
        Bucket=bare_bucket, NotificationConfiguration={"QueueConfigurations": [told]}
    )
    (said,) = problems(check_queue.queue, target)
    assert said == f"{name} does not take from {name}, which {name} tells of new records"


def test_a_mapping_without_partial_answers_and_a_queue_without_an_end_are_problems_until_they_are_mended(
    target, aws, name, bare_bucket, reading_function
):
    url, arn = reading_function
    mapping = aws.functions.create_event_source_mapping(FunctionName=name, EventSourceArn=arn)["UUID"]
    assert problems(check_queue.queue, target) == [
        f"a message of {name} that fails is deleted as if it were done",
        f"what fails again and again goes from {name} to nowhere",
        f"a message of {name} stays hidden for 30 s while the function has it, which may take 60 s",
    ]
    aws.functions.update_event_source_mapping(UUID=mapping, FunctionResponseTypes=["ReportBatchItemFailures"])
    redrive = json.dumps({"deadLetterTargetArn": f"{arn}-dlq", "maxReceiveCount": "5"})
    aws.sqs.set_queue_attributes(
        QueueUrl=url, Attributes={"RedrivePolicy": redrive, "VisibilityTimeout": "360"}
    )
    assert problems(check_queue.queue, target) == []
    assert [finding.what for finding in check_queue.queue(target)][1:3] == [
        f"a message of {name} that fails comes again, alone",
        f"what fails again and again goes from {name} to {name}-dlq",
    ]
    aws.functions.update_event_source_mapping(UUID=mapping, Enabled=False)
    (said,) = problems(check_queue.queue, target)
    assert said.startswith(f"the function takes from {name}: Disabl")


def test_dead_letters_are_counted_and_their_absence_is_well(target, aws, name):
    assert problems(check_ingest.dead_letters, target) == ["there is no dead-letter queue"]
    url = aws.sqs.create_queue(QueueName=f"{name}-dlq")["QueueUrl"]
    with_queue = replace(target, dead_letters_url=url)
    assert problems(check_ingest.dead_letters, with_queue) == []
    aws.sqs.send_message(QueueUrl=url, MessageBody="{}")
    assert problems(check_ingest.dead_letters, with_queue) == [f"1 dead letter in {name}-dlq"]


def test_an_alarm_that_rings_and_one_that_tells_nobody_are_problems(target, aws, name):
    assert problems(check_ingest.alarms, target) == [f"there is no alarm whose name begins with {name}"]
    aws.cloudwatch.put_metric_alarm(
        AlarmName=f"{name}-errors",
        Namespace="AWS/Lambda",
        MetricName="Errors",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )
    aws.cloudwatch.set_alarm_state(AlarmName=f"{name}-errors", StateValue="ALARM", StateReason="too many")
    said = problems(check_ingest.alarms, target)
    assert said == [
        f"the alarm {name}-errors rings: too many",
        f"1 of 1 alarms tell nobody, such as {name}-errors",
    ]


def test_a_gateway_that_is_not_known_is_unknown_and_no_problem(target):
    (enforced,) = looked_at(check_chain.enforcement, target)
    assert enforced.is_ok is None
    (followed,) = check_chain.chain(target, lambda _: None)
    assert (followed.is_ok, "address is not known" in followed.what) == (None, True)


def test_what_is_meant_is_named_or_comes_from_a_stack_that_is_there(aws, name):
    with pytest.raises(WrongUsageError, match="which bucket"):
        find_target(aws, NOTHING, "", 1)
    with pytest.raises(DeployError, match="there is no stack"):
        find_target(aws, replace(NOTHING, stack=name), "", 1)
    found = find_target(aws, replace(NOTHING, bucket="s3://records", api_url="https://a/prod/"), "", 1)
    assert (found.bucket, found.table, found.function) == ("records", "CentralLLMAudit", "llm-audit-ingest")
    assert found.api_url == "https://a/prod"


def test_the_command_says_every_problem_as_a_json_line_and_exits_with_1(aws, name, bare_bucket):
    arguments = ["doctor", "--aws", "--json", "--bucket", bare_bucket, "--table", name, "--function", name]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert {line["check"] for line in found} >= {"identity", "bucket", "table", "function", "chain"}
    assert all(line["advice"] for line in found if line["ok"] is False)
    assert [line["ok"] for line in found if line["check"] == "chain"] == [None]


def test_what_belongs_to_aws_is_wrong_usage_without_it():
    result = CliRunner().invoke(main, ["doctor", "--stack", "s"])
    assert (result.exit_code, "--aws" in result.stderr) == (2, True)
