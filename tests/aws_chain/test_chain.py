"""From a caller through API Gateway, proxy, bucket and Lambda into the table, deployed by our own command, with faults.

One test, read from top to bottom: what is acknowledged to callers is what lies in the bucket is what lies in the
table and in each of its indexes. What the local AWS does otherwise than Amazon's is said in ``aws_stage``.
"""

import json
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from aws_stage import BUCKET, STACK, TABLE, staged
from cli.waiting import eventually
from faulty_dynamodb import faulty_dynamodb
from local_aws import running_aws

INDEXES = (None, "GSI_UserTime", "GSI_StatusTime", "GSI_ProjectLatency")
POISON = "logs/2026/11/24/019abcde-0000-7000-8000-0000000000ff.json"


@pytest.mark.timeout(240)
def test_every_call_that_was_acknowledged_is_one_object_and_one_item_whatever_fails(tmp_path, signed_in):
    with (
        running_aws(tmp_path, LAMBDA_ASYNC_RETRY_BASE_SECONDS="0.3") as local,
        staged(local, tmp_path) as stage,
        faulty_dynamodb(local.endpoint) as faults,
    ):
        the_gateway_refuses_whom_it_must(stage)
        doctor_follows_a_call_into_every_index(stage)
        a_throttled_table_delays_and_loses_nothing(stage, faults)
        a_function_that_is_killed_half_way_runs_again(stage, faults)
        a_document_of_tomorrow_waits_among_dead_letters(stage)
        everything_is_there_once(stage)


def the_gateway_refuses_whom_it_must(stage):
    assert stage.chat(x_api_key=None) == 403
    assert stage.chat(x_api_key="0" * 40) == 403
    for name in ("x_llm_source", "x_llm_user", "x_llm_request_type"):
        assert stage.chat(**{name: None}) == 400
    assert stage.chat() == 200
    assert stage.chat(stream=True) == 200
    stage.limit(1, 1)
    with ThreadPoolExecutor(4) as callers:
        statuses = list(callers.map(lambda _: stage.chat(), range(8)))
    assert 429 in statuses
    assert set(statuses) <= {200, 429}
    stage.limit(500, 500)


def doctor_follows_a_call_into_every_index(stage):
    said = stage.run("doctor", "--aws", "--stack", STACK, "--api-url", stage.url, "--json", code=1)
    findings = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    # The local gateway adds no key id and no secret, so the proxy can't say that the gateway vouches for the caller;
    # nobody's address is in the template's alarms.
    wrong = [finding["what"] for finding in findings if not finding["ok"]]
    assert [what for what in wrong if "alarms tell nobody" not in what] == [
        "it says that the identity is vouched for by: claimed"
    ]
    assert sum("it is found by GSI_" in finding["what"] for finding in findings) == 3


def a_throttled_table_delays_and_loses_nothing(stage, faults):
    stage.configure_function(AWS_ENDPOINT_URL_DYNAMODB=faults.url)
    faults.throttle(3)
    with ThreadPoolExecutor(3) as callers:
        assert list(callers.map(lambda _: stage.chat(), range(5))) == [200] * 5
    eventually(lambda: stage.acknowledged <= set(stage.items()), within=60, every=0.1)
    assert faults.throttled == 3


def a_function_that_is_killed_half_way_runs_again(stage, faults):
    faults.hold_next()
    assert stage.chat("a call whose item is late") == 200
    assert faults.held.wait(60)
    workers = stage.lambda_workers()
    assert workers
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
    faults.release()
    eventually(lambda: stage.acknowledged <= set(stage.items()), within=60, every=0.1)


def a_document_of_tomorrow_waits_among_dead_letters(stage):
    s3 = stage.aws.s3
    (example,) = list(stage.objects().values())[:1]
    s3.put_object(Bucket=BUCKET, Key=POISON, Body=json.dumps({**example, "schemaVersion": 99}))
    eventually(lambda: stage.dead_letters() == 1, within=60, every=0.1)
    again = stage.run("lambda", "redrive", code=1)
    assert "1 messages stay in" in again
    assert stage.dead_letters() == 1
    s3.delete_object(Bucket=BUCKET, Key=POISON)
    assert "1 ingested" in stage.run("lambda", "redrive")
    assert stage.dead_letters() == 0


def everything_is_there_once(stage):
    objects = stage.objects()
    answered = {name for name, document in objects.items() if document["source"] == "chain"}
    assert answered == stage.acknowledged
    assert {document["outcome"] for document in objects.values()} == {"complete"}
    # Whatever else is there is doctor's call.
    assert len(objects) == len(stage.acknowledged) + 1
    for index in INDEXES:
        assert stage.items(index) == sorted(objects), index
    found = stage.run("query", "--source", "chain", "--limit", "100", "--json", environ=reading())
    assert {json.loads(line)["requestId"] for line in found.splitlines()} == stage.acknowledged


def reading():
    return {"AUDIT_BUCKET": f"s3://{BUCKET}", "AUDIT_INDEX": f"dynamodb://{TABLE}"}
