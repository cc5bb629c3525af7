"""The chain with ``IngestMode=sqs`` and policies enforced: a call → S3 → SQS → function → item, what fails comes alone.

Over TLS, as it must be: S3's own message into the queue is judged by the queue's policy, and the local AWS takes for
that message's transport the one of the put that caused it (Amazon's S3 always speaks TLS). So with ``AUTH=true`` and
plain http the policy's ``DenyWithoutTls`` keeps every message out: no error anywhere, a line in the server's log.

What differs from Amazon's here: a mapping takes from its queue without asking the function's role (the guard rules
judge ``QueueReaderPolicy``), and nothing is looked at between the template's 360 seconds, which are made shorter.
"""

import json

import pytest

from aws_stage import BUCKET, FUNCTION, STACK, TABLE, staged, task_credentials
from cli.waiting import eventually
from llm_audit.deploy.check_queue import queue
from llm_audit.deploy.target import Named, find_target
from local_aws import running_aws

QUEUE, DEAD_LETTERS = "llm-audit-ingest", "llm-audit-dlq"
POISON = "logs/2026/11/24/019abcde-0000-7000-8000-0000000000ff.json"
GOOD = "logs/2026/11/24/019abcde-0000-7000-8000-00000000000a.json"
HIDDEN_SECONDS = 6


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("signed_in")
def test_through_the_queue_a_call_becomes_an_item_and_of_a_batch_what_fails_alone_ends_as_dead_letter(
    tmp_path, monkeypatch
):
    with running_aws(tmp_path, speaks_tls=True, AUTH="true") as local:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(local.certificate))
        task = task_credentials(local.aws().iam)
        with staged(local, tmp_path, proxy_environ=task, CreateOnly="false", IngestMode="sqs") as stage:
            assert stage.chat() == 200
            eventually(lambda: stage.items() == sorted(stage.acknowledged), within=60, every=0.1)
            doctor_finds_nothing_wrong_with_the_queue(stage)
            of_a_batch_only_what_failed_comes_again_and_is_a_dead_letter_at_last(stage)
            mended_and_redriven_it_is_an_item(stage)


def doctor_finds_nothing_wrong_with_the_queue(stage):
    named = Named(STACK, None, None, None, "logs", None, None, None)
    found = list(queue(find_target(stage.aws, named, "", 1)))
    assert [finding.what for finding in found] == [
        f"the function takes from {QUEUE}: Enabled",
        f"a message of {QUEUE} that fails comes again, alone",
        f"what fails again and again goes from {QUEUE} to {DEAD_LETTERS}",
        f"a message of {QUEUE} stays hidden for 360 s while the function has it, which may take 60 s",
    ]
    assert all(finding.is_ok for finding in found)


def of_a_batch_only_what_failed_comes_again_and_is_a_dead_letter_at_last(stage):
    """Two objects wait in the queue together: a record, and one of tomorrow that this function cannot write."""
    aws = stage.aws
    url = aws.sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    redrive = json.loads(attributes(aws, url)["RedrivePolicy"])
    assert redrive["maxReceiveCount"] == 5
    changed = {
        "RedrivePolicy": json.dumps({**redrive, "maxReceiveCount": 2}),
        "VisibilityTimeout": str(HIDDEN_SECONDS),
    }
    aws.sqs.set_queue_attributes(QueueUrl=url, Attributes=changed)
    (mapping,) = aws.functions.list_event_source_mappings(FunctionName=FUNCTION)["EventSourceMappings"]
    aws.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    (example,) = stage.objects().values()
    for key, version in ((POISON, 99), (GOOD, example["schemaVersion"])):
        name = key.rpartition("/")[2].removesuffix(".json")
        document = {**example, "requestId": name, "schemaVersion": version}
        aws.s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(document))
    eventually(lambda: waiting(aws, url) == 2, every=0.1)
    aws.functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)

    def last_result():
        return aws.functions.get_event_source_mapping(UUID=mapping["UUID"])["LastProcessingResult"]

    eventually(lambda: "1 partial failures" in last_result(), within=60, every=0.1)
    assert f"project#{example['source']}" in sources_of(aws, GOOD)
    eventually(lambda: stage.dead_letters() == 1, within=60, every=0.1)
    assert waiting(aws, url) == 0
    assert sources_of(aws, POISON) == []


def mended_and_redriven_it_is_an_item(stage):
    """As a function would see it that knows the document's version."""
    s3 = stage.aws.s3
    document = json.loads(s3.get_object(Bucket=BUCKET, Key=POISON)["Body"].read())
    good = json.loads(s3.get_object(Bucket=BUCKET, Key=GOOD)["Body"].read())
    mended = {**document, "schemaVersion": good["schemaVersion"]}
    s3.put_object(Bucket=BUCKET, Key=POISON, Body=json.dumps(mended))
    assert "1 ingested" in stage.run("lambda", "redrive")
    assert stage.dead_letters() == 0
    assert stage.items() == sorted(stage.objects())


def attributes(aws, url):
    return aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]


def waiting(aws, url):
    """Count what is in a queue, seen or hidden."""
    found = attributes(aws, url)
    return sum(int(found[f"ApproximateNumberOfMessages{kind}"]) for kind in ("", "NotVisible"))


def sources_of(aws, key):
    """Give the ``id`` of every item that an object stands behind."""
    rows = aws.dynamodb.scan(TableName=TABLE)["Items"]
    return [row["id"]["S"] for row in rows if row.get("auditObjectKey", {}).get("S") == key]
