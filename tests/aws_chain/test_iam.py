"""The same chain with policies enforced: whoever lacks a permission fails.

The proxy has the task role's policy and no other, the function the template's. Everything goes over TLS, since the
policies of buckets and queues refuse what does not. The local AWS does not know the condition ``s3:if-none-match``, and
would refuse every put of a bucket that takes new objects only: ``CreateOnly`` is off.
"""

import json

import pytest

from aws_stage import staged, task_credentials
from cli.waiting import eventually
from local_aws import running_aws

ROLE = "llm-audit-ingest-role"
INLINE = "llm-audit-ingest-inline"


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("signed_in")
def test_with_policies_enforced_a_call_reaches_its_item_and_a_missing_permission_shows(tmp_path, monkeypatch):
    with running_aws(tmp_path, speaks_tls=True, AUTH="true", LAMBDA_ASYNC_RETRY_BASE_SECONDS="0.3") as local:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(local.certificate))
        task = task_credentials(local.aws().iam)
        with staged(local, tmp_path, proxy_environ=task, CreateOnly="false") as stage:
            assert stage.chat() == 200
            eventually(lambda: stage.acknowledged <= set(stage.items()), within=60, every=0.1)
            a_role_without_a_permission_of_the_template_fails_and_says_which(stage)
            assert set(stage.objects()) == stage.acknowledged == set(stage.items())


def a_role_without_a_permission_of_the_template_fails_and_says_which(stage):
    iam = stage.aws.iam
    policy = iam.get_role_policy(RoleName=ROLE, PolicyName=INLINE)["PolicyDocument"]
    left = [one for one in policy["Statement"] if one["Sid"] != "AllowDynamoAuditTable"]
    iam.put_role_policy(
        RoleName=ROLE, PolicyName=INLINE, PolicyDocument=json.dumps({**policy, "Statement": left})
    )
    assert stage.chat() == 200
    eventually(lambda: stage.dead_letters() == 1, within=60, every=0.1)
    said = stage.run("doctor", "--aws", "--stack", "chain", "--wait", "1", code=1)
    assert "problem  the function's role may not dynamodb:PutItem" in said
    assert "problem  1 dead letter in llm-audit-dlq" in said
    iam.put_role_policy(RoleName=ROLE, PolicyName=INLINE, PolicyDocument=json.dumps(policy))
    assert "1 ingested" in stage.run("lambda", "redrive")
