"""The function on a local AWS: notification → function → table, and what fails → retries → dead letters → redriven.

The local AWS's dead letter of a function is an envelope where Amazon's is the event itself; both are tested, Amazon's
by its file in ``tests/ingest/events``.
"""

from __future__ import annotations

import base64
import json
import subprocess
import zipfile
from urllib.parse import quote_plus

import pytest
from click.testing import CliRunner

from calls import key_of, record, request_id
from llm_audit.cli.main import main
from llm_audit.index.dynamodb_items import item_of
from llm_audit.record.encoding import encode_record
from local_aws import REGION
from local_lambda import ARTIFACTS, Chain, eventually, new_chain

pytestmark = pytest.mark.timeout(
    300
)  # the local AWS starts a process for each event, on a machine shared by many


def data(number: int, **changes) -> bytes:
    return encode_record(record(number, **changes))


def poison(number: int) -> bytes:
    """Give a document of a later version: it is none of ours to skip, and an older function cannot write it."""
    return data(number).replace(b'"schemaVersion":1', b'"schemaVersion":7')


def event(chain: Chain, *keys: str) -> dict:
    objects = ({"bucket": {"name": chain.bucket}, "object": {"key": quote_plus(key)}} for key in keys)
    return {
        "Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": one} for one in objects]
    }


def stems(*numbers: int) -> set[str]:
    return {request_id(number) for number in numbers}


def redrive(chain: Chain, *options: str):
    places = [
        "--queue",
        chain.dead_letters,
        "--function",
        chain.function,
        "--aws-endpoint-url",
        chain.aws.endpoint,
    ]
    environment = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION}
    return CliRunner().invoke(main, ["lambda", "redrive", *places, *options], env=environment)


def test_objects_become_items_with_their_keys_decoded_and_what_fails_is_redriven_once_it_is_mended(local_aws):
    chain = new_chain(local_aws)
    chain.notify_directly()
    strange = "a b+c é\U0001f600"
    chain.put(key_of(record(1)), data(1))
    chain.put(f"logs/2026/11/24/{strange}.json", data(2, request_id=strange, source="Ünïcode \U0001f600"))
    chain.put("logs/notes.txt", b"no document")
    chain.put(key_of(record(3)), poison(3))
    eventually(chain.stems, {request_id(1), strange})
    eventually(lambda: len(chain.dead_letter_bodies()), 1)

    seen = redrive(chain, "--dry-run")
    assert (seen.exit_code, request_id(3) in seen.output) == (0, True), seen.output
    again = redrive(chain)
    assert (again.exit_code, "failed again" in again.output) == (1, True), again.output
    assert len(chain.dead_letter_bodies()) == 1, "what fails again stays"

    chain.put(key_of(record(3)), data(3))  # as a newer function would see it
    mended = redrive(chain, "--json")
    assert mended.exit_code == 0, mended.output
    assert json.loads(mended.output)["written"] == 1
    assert chain.dead_letter_bodies() == []
    assert chain.stems() == {*stems(1, 3), strange}
    named = {row["createdAt"]["S"].partition("#")[2]: row for row in chain.rows()}[strange]
    assert named["auditObjectKey"]["S"] == f"logs/2026/11/24/{strange}.json"
    assert (named["auditBucket"]["S"], named["id"]["S"]) == (chain.bucket, "project#Ünïcode \U0001f600")
    assert item_of(named).latency_ms == 120


def test_through_a_queue_only_the_messages_that_failed_come_again_and_are_dead_letters_at_last(local_aws):
    chain = new_chain(local_aws)
    chain.notify_through_a_queue()
    chain.put(key_of(record(3)), poison(3))
    for number in (1, 2):
        chain.put(key_of(record(number)), data(number))
    eventually(chain.stems, stems(1, 2))
    eventually(lambda: any(request_id(3) in body for body in chain.dead_letter_bodies()), True)
    assert not any("requestPayload" in body for body in chain.dead_letter_bodies())

    chain.put(key_of(record(3)), data(3))
    assert redrive(chain).exit_code == 0
    eventually(chain.dead_letter_bodies, [])
    assert chain.stems() == stems(1, 2, 3)


def test_amazons_dead_letter_is_the_event_itself_and_what_is_no_event_stays(local_aws):
    chain = new_chain(local_aws)
    chain.put(key_of(record(1)), data(1))
    sqs = local_aws.client("sqs")
    for body in ("no event", json.dumps(event(chain, key_of(record(1))))):
        sqs.send_message(QueueUrl=chain.dead_letters, MessageBody=body)
    done = redrive(chain)
    assert (done.exit_code, "the message holds no JSON object" in done.output) == (1, True), done.output
    assert chain.dead_letter_bodies() == ["no event"]
    assert chain.stems() == stems(1)


def test_events_twice_reversed_and_of_deleted_objects_leave_the_same_table(local_aws):
    chain = new_chain(local_aws)
    keys = [key_of(record(number)) for number in range(4)]
    for number, key in enumerate(keys):
        chain.put(
            key, data(number, status_code=(200, 200, 500, None)[number], latency_ms=(5, 99, 1000, 7)[number])
        )
    gone = key_of(record(9))
    assert chain.invoke(event(chain, *keys, gone)) == (
        {"processed": 5, "written": 4, "skipped": 1, "errors": 0},
        None,
    )
    first = chain.rows()
    chain.aws.client("s3").delete_object(Bucket=chain.bucket, Key=keys[0])
    for again in ((*reversed(keys), gone), keys, (keys[0],)):
        answer, error = chain.invoke(event(chain, *again))
        assert (answer["errors"], error) == (0, None)
    assert chain.rows() == first
    found = chain.aws.client("dynamodb").query(
        TableName=chain.table,
        IndexName="GSI_ProjectLatency",
        KeyConditionExpression="latencyPk = :source",
        ExpressionAttributeValues={":source": {"S": "project#billing"}},
    )
    assert [int(row["latencyMs"]["N"]) for row in found["Items"]] == [5, 7, 99, 1000]


def test_an_event_with_one_failure_is_worked_through_and_then_raised(local_aws):
    chain = new_chain(local_aws)
    chain.put(key_of(record(1)), poison(1))
    chain.put(key_of(record(2)), data(2))
    answer, error = chain.invoke(event(chain, key_of(record(1)), key_of(record(2))))
    assert error == "Unhandled"
    assert answer["errorMessage"].startswith("1 of 2 could not be ingested")
    assert chain.stems() == stems(2)


def test_a_zip_of_handler_py_alone_works_with_previews_up_to_what_an_item_holds(local_aws, tmp_path):
    subprocess.run(["zip", "-q", "-j", tmp_path / "dist.zip", ARTIFACTS / "handler.py"], check=True)
    with zipfile.ZipFile(tmp_path / "dist.zip") as file:
        assert file.namelist() == ["handler.py"]
    chain = new_chain(local_aws, (tmp_path / "dist.zip").read_bytes())
    chain.configure(MAX_PREVIEW_CHARS="400000", STATUS_SHARDS="4", RETENTION_DAYS="30")
    chain.put(
        key_of(record(1)), data(1, prompt_preview="p" * 300_000, response_preview="\U0001f600" * 60_000)
    )
    chain.put(key_of(record(2)), data(2, prompt_preview="", response_preview=None))
    answer, _ = chain.invoke(event(chain, key_of(record(1)), key_of(record(2))))
    assert answer == {"processed": 2, "written": 2, "skipped": 0, "errors": 0}
    large, small = (row for row in chain.rows() if "requestId" in row)
    assert (
        380_000
        < sum(len(large[name]["S"].encode()) for name in ("promptPreview", "responsePreview"))
        < 409_600
    )
    assert small["promptPreview"]["S"] == ""
    assert small["statusPk"]["S"].startswith("status#200#")
    assert int(small["expiresAt"]["N"]) == 1_795_521_600 + 30 * 86_400


def test_the_raw_archive_gets_a_copy_of_each_document_and_of_nothing_else(local_aws):
    chain = new_chain(local_aws)
    archive = f"{chain.bucket}-raw"
    s3 = local_aws.client("s3")
    s3.create_bucket(Bucket=archive, CreateBucketConfiguration={"LocationConstraint": REGION})
    chain.configure(RAW_ARCHIVE_BUCKET=archive)
    key = "logs/2026/11/24/a b+ü.json"
    chain.put(key, data(1, request_id="a b+ü"))
    chain.put("logs/notes.txt", b"no document")
    for _ in range(2):
        answer, _ = chain.invoke(event(chain, key, "logs/notes.txt"))
        assert answer == {"processed": 2, "written": 1, "skipped": 1, "errors": 0}
    listed = s3.list_objects_v2(Bucket=archive)["Contents"]
    assert [one["Key"] for one in listed] == [key]
    assert s3.get_object(Bucket=archive, Key=key)["Body"].read() == data(1, request_id="a b+ü")

    of_the_copy = event(chain, key)
    of_the_copy["Records"][0]["s3"]["bucket"]["name"] = archive
    assert chain.invoke(of_the_copy)[0]["skipped"] == 1
    assert chain.rows()[0]["auditBucket"]["S"] == chain.bucket


def test_wrong_settings_stop_the_function_with_what_is_allowed(local_aws):
    chain = new_chain(local_aws)
    chain.configure(MAX_PREVIEW_CHARS="many")
    answer, error = chain.invoke({})
    assert error
    assert "MAX_PREVIEW_CHARS is 'many', expected a whole number from 0 to 400000" in json.dumps(answer)


def test_no_word_of_a_call_and_no_caller_is_in_the_functions_log(local_aws):
    chain = new_chain(local_aws)
    words = ("zebra-prompt-words", "zebra-reply-words", "zebra-caller", "zebra-user", "zebra-model")
    changes = dict(zip(("prompt_preview", "response_preview", "source", "user"), words, strict=False))
    chain.put(key_of(record(1)), data(1, **changes))
    chain.put(key_of(record(2)), poison(2).replace(b'"billing"', b'"zebra-caller"'))
    chain.put(
        "logs/2026/11/24/x.json", b'{"schemaVersion": "zebra-model", "requestId": "zebra-prompt-words"}'
    )
    function, said = chain.aws.client("lambda"), ""
    for key in (key_of(record(1)), key_of(record(2)), "logs/2026/11/24/x.json"):
        payload = json.dumps(event(chain, key)).encode()
        answer = function.invoke(FunctionName=chain.function, LogType="Tail", Payload=payload)
        said += base64.b64decode(answer["LogResult"]).decode() + answer["Payload"].read().decode()
    said += chain.aws.log.read_text(encoding="utf-8", errors="replace")
    assert "ingested" in said
    assert not [word for word in words if word in said]
