"""The commands where records lie in a bucket and the index in DynamoDB, from a machine that holds nothing itself."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from calls import key_of, record, request_id
from llm_audit.cli.main import main
from llm_audit.index.dynamodb_items import item_of
from llm_audit.record.encoding import encode_record
from llm_audit.record.schema import Outcome
from local_dynamodb import KEYS, REGION, LocalDynamoDB
from local_s3 import LocalS3

V4 = "0d8f7a52-7c1e-4b8f-9d53-3f1d2c4b5a69"


@dataclass(frozen=True)
class Cloud:
    """A bucket and a table, and the command line as somebody at another machine runs it."""

    server: LocalDynamoDB
    bucket: str
    table: str
    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        return {
            **KEYS,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.server.endpoint,
            "AUDIT_BUCKET": f"s3://{self.bucket}",
            "AUDIT_INDEX": f"dynamodb://{self.table}",
            "AUDIT_DATA_DIR": str(self.folder / "none"),
        }

    def run(self, *arguments, **environ):
        return CliRunner().invoke(main, arguments, env={"COLUMNS": None, **self.environ, **environ})

    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "llm_audit", *arguments],
            env={**os.environ, "PYTHONUNBUFFERED": "1", **self.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def put(self, records, name=None):
        client = self.server.s3.boto3()

        def put(one):
            client.put_object(Bucket=self.bucket, Key=key_of(one, name), Body=encode_record(one))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, records))
        client.close()

    def found(self):
        return {one for row in self.server.rows(self.table) if (one := item_of(row))}


@pytest.fixture(scope="module")
def server(local_aws):
    return LocalDynamoDB(LocalS3(local_aws.endpoint))


@pytest.fixture
def cloud(server, tmp_path):
    bucket = server.s3.new_bucket(f"audit-{uuid.uuid4().hex[:12]}")
    return Cloud(server, bucket, server.new_table(), tmp_path)


RECORDS = [
    record(1),
    record(2, source="search", user="bob", status_code=500, latency_ms=9000),
    record(3, source=None, user=None, status_code=403, outcome=Outcome.REJECTED, response=None),
    record(4, request_id=V4, user="grüße 🎉"),
]


@pytest.fixture(scope="module")
def filled(server, tmp_path_factory):
    """Four records in the bucket, indexed by the real command."""
    bucket = server.s3.new_bucket("audit-filled")
    one = Cloud(server, bucket, server.new_table(), tmp_path_factory.mktemp("filled"))
    one.put(RECORDS)
    result = one.run("reindex")
    assert (result.exit_code, result.stdout) == (0, "4 calls indexed, 0 removed, 0 other objects\n")
    return one


def ids(result):
    assert result.exit_code == 0, result.output
    return [json.loads(line)["requestId"] for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("flags", "numbers"),
    [
        ([], [4, 3, 2, 1]),
        (["--source", "search"], [2]),
        (["--source", "-"], [3]),
        (["--user", "grüße 🎉"], [4]),
        (["--status", "500"], [2]),
        (["--outcome", "rejected"], [3]),
        (["--min-latency-ms", "5000"], [2]),
        (["--text", "hello", "--user", "ada"], [1]),
        (["--since", "2026-11-24T12:00:00.003Z"], [4, 3]),
        (["--sort", "latency", "--limit", "1"], [2]),
        (["--sort", "latency", "--source", "billing"], [4, 1]),
        (["--source", "nobody"], []),
    ],
    ids=str,
)
def test_each_filter_of_query_holds(filled, flags, numbers):
    wanted = [V4 if number == 4 else request_id(number) for number in numbers]
    limit = 1 if "--limit" in flags else 50
    assert ids(filled.run("query", "--json", *flags))[:limit] == wanted


def test_a_json_line_has_the_same_names_as_from_the_embedded_index(filled):
    line = json.loads(filled.run("query", "--json", "--status", "500").stdout)
    assert (line["id"], line["latencyMs"], line["stream"]) == ("project#search", 9000, False)
    assert (line["auditBucket"], line["finishReasons"]) == (filled.bucket, ["stop"])


def test_a_call_is_shown_by_any_kind_of_id_and_checked_against_the_index(filled):
    for number, one in ((1, RECORDS[0]), (4, RECORDS[3])):
        shown = filled.run("show", one.request_id, "--json", "--since", "2026-11-01")
        assert shown.stdout == encode_record(RECORDS[number - 1]).decode() + "\n"
    assert "as indexed · " in filled.run("show", V4, "--since", "2026-11-20").stdout
    assert filled.run("show", V4, "--since", "2026-11-26").exit_code == 1
    missing = filled.run("show", "00000000-0000-4000-8000-000000000000")
    assert (missing.exit_code, "since 90d" in missing.stderr) == (1, True)


def test_calls_are_counted(filled):
    lines = [json.loads(line) for line in filled.run("stats", "--by", "source", "--json").stdout.splitlines()]
    assert [(line["source"], line["calls"]) for line in lines] == [("billing", 2), ("search", 1), (None, 1)]
    assert "partial" not in lines[0]


def test_nothing_is_made_on_the_machine_that_reads(filled):
    filled.run("query")
    filled.run("stats")
    assert not (filled.folder / "none" / "index").exists()


def test_calls_are_followed_as_they_come_and_ctrl_c_ends_it_well(cloud):
    cloud.put([record(1)])
    cloud.run("reindex")
    process = cloud.start("tail", "--json", "-n", "1")
    try:
        assert json.loads(process.stdout.readline())["requestId"] == request_id(1)
        cloud.put([record(2)])
        cloud.run("reindex")
        assert json.loads(process.stdout.readline())["requestId"] == request_id(2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()
        process.wait()


def test_a_reindex_that_is_killed_goes_on_where_it_was(cloud):
    records = [record(number) for number in range(620)]
    cloud.put(records)
    memory = cloud.folder / "none" / "reindex" / f"{cloud.table}.sqlite3"
    process = cloud.start("reindex")
    while process.poll() is None and not _progress(memory):
        pass
    process.kill()
    process.communicate()
    before = _progress(memory)
    assert before == 500, "it was killed on its way"
    again = cloud.run("reindex")
    assert f"going on after {key_of(record(before - 1))}" in again.stderr
    assert (again.exit_code, again.stdout) == (0, "620 calls indexed, 0 removed, 0 other objects\n")
    assert {one.request_id for one in cloud.found()} == {one.request_id for one in records}
    assert not memory.exists()


def _progress(memory):
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{memory.as_uri()}?mode=ro", uri=True)) as opened:
        return (opened.execute("SELECT written FROM rebuild").fetchone() or (0,))[0]
    return 0


def test_what_has_no_object_leaves_the_table(cloud):
    cloud.put([record(1), record(2)])
    cloud.run("reindex")
    cloud.server.s3.boto3().delete_object(Bucket=cloud.bucket, Key=key_of(record(2)))
    assert cloud.run("reindex").stdout == "1 calls indexed, 1 removed, 0 other objects\n"
    assert {one.request_id for one in cloud.found()} == {request_id(1)}


def test_a_reindex_writes_what_the_lambda_would_and_refuses_another_shape(cloud):
    cloud.put([record(n) for n in range(6)])
    shape = {"STATUS_SHARDS": "4", "RETENTION_DAYS": "400", "MAX_PREVIEW_CHARS": "3"}
    result = cloud.run("reindex", **shape)
    assert result.exit_code == 0, result.output
    for one in cloud.found():
        assert one.expires_at == 1_795_521_600 + 400 * 86_400
        assert (one.prompt_preview, one.status_shard in range(4)) == ("use", True)
    assert len(ids(cloud.run("query", "--json", "--status", "200"))) == 6
    forgotten = cloud.run("reindex", RETENTION_DAYS="", STATUS_SHARDS="4")
    assert (forgotten.exit_code, "RETENTION_DAYS" in forgotten.stderr) == (2, True)
    assert cloud.run("reindex", STATUS_SHARDS="many").exit_code == 2


def test_two_calls_with_one_id_are_both_shown(cloud):
    second = record(1, user="bob")
    cloud.put([record(1)])
    cloud.put([second], name=f"{request_id(1)}~w-0123abcd-3-9")
    lines = cloud.run("show", request_id(1), "--json", "--since", "2026-11-20").stdout.splitlines()
    assert [json.loads(line)["user"] for line in lines] == ["ada", "bob"]
    only = cloud.run("show", f"{request_id(1)}~w-0123abcd-3-9", "--json", "--since", "2026-11-20").stdout
    assert json.loads(only)["user"] == "bob"


@pytest.mark.parametrize(
    ("environ", "code", "words"),
    [
        ({"AUDIT_INDEX": "dynamodb://NoSuchTable"}, 1, "no DynamoDB table NoSuchTable"),
        ({"AWS_ENDPOINT_URL": "http://example.com:8000"}, 2, "not encrypted"),
        ({"AUDIT_INDEX": "dynamodb://a b"}, 2, "AUDIT_INDEX"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_in_a_line(filled, environ, code, words):
    result = filled.run("query", **environ)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_doctor_looks_at_the_table(filled, server):
    def said(table):
        result = filled.run("doctor", "--json", AUDIT_INDEX=f"dynamodb://{table}")
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        return [(line["ok"], line["what"]) for line in lines if line["check"] == "index"]

    shape, read = said(filled.table)[:2]
    assert (shape[0], read[0]) == (True, True)
    assert "2026-11-24T12:00:00.004Z" in read[1]
    lacking = server.new_table(("GSI_UserTime", "GSI_StatusTime"))
    assert said(lacking)[0] == (False, f"dynamodb://{lacking}: index GSI_ProjectLatency is missing")
    ((ok, what),) = said("NoSuchTable")
    assert not ok
    assert "no DynamoDB table NoSuchTable" in what


def test_without_boto3_it_says_what_to_install(filled, tmp_path):
    (tmp_path / "boto3.py").write_text("raise ModuleNotFoundError('no', name='boto3')")
    run = subprocess.run(
        [sys.executable, "-m", "llm_audit", "query"],
        env={**os.environ, **filled.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert "pip install 'central-llm-audit[aws]'" in run.stderr


def test_a_list_or_count_that_may_miss_calls_says_so_where_programs_read_too(filled, monkeypatch):
    monkeypatch.setattr("llm_audit.index.dynamodb.READ_BUDGET", 1)
    listed = filled.run("query", "--json", "--text", "Hi", "--user", "ada")
    *calls, last = map(json.loads, listed.stdout.splitlines())
    assert last["partial"] is True
    assert "partial: " in listed.stderr
    rest = filled.run("query", "--json", "--text", "Hi", "--user", "ada", "--cursor", last["cursor"])
    found = [
        one["requestId"] for one in (*calls, *map(json.loads, rest.stdout.splitlines())) if "requestId" in one
    ]
    assert found == [request_id(1)]
    assert "partial: " in filled.run("query", "--sort", "latency").stderr
    counted = filled.run("stats", "--json")
    assert json.loads(counted.stdout)["partial"] is True
    assert "partial: " in counted.stderr
    none = filled.run("stats", "--json", "--text", "no such text")
    assert json.loads(none.stdout) == {"partial": True}
