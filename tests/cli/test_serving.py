"""The whole system end to end, in real processes: what ``serve`` promises when all is well and when it is not."""

import contextlib
import hashlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from cli.served import Served, folder_mode, free_port, sequences, serve_command
from cli.waiting import eventually, is_alive
from local_s3 import LocalS3


@pytest.fixture
def serve(tmp_path):
    started = []

    def start(command=None, **environ):
        started.append(Served(tmp_path, command or serve_command(free_port()), **environ))
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_a_call_becomes_one_document_and_one_item_and_sigterm_ends_it_all(serve):
    served = serve().ready()
    status, request_id, _ = served.call("What is the capital of France?")
    assert status == 200
    (item,) = eventually(lambda: served.items(request_id))
    assert (item.source, item.user, item.outcome) == ("tests", "somebody", "complete")
    document = served.documents()[request_id]
    assert "capital of France" in document["promptPreview"]
    children = served.status()["children"]
    served.process.terminate()
    assert served.process.wait(60) == 0
    assert not [child for child in children.values() if is_alive(child["pid"])]


def test_records_go_to_an_s3_bucket_and_the_shipper_fills_the_embedded_index(serve, local_aws):
    s3 = LocalS3(local_aws.endpoint)
    s3.new_bucket("audit-records")
    served = serve(
        AUDIT_BUCKET="audit-records",
        AUDIT_PREFIX="team/logs",
        AUDIT_INDEX_WRITER="shipper",
        AWS_ENDPOINT_URL=s3.endpoint,
        AWS_REGION="us-east-1",
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
    ).ready()
    request_id = served.call()[1]
    (item,) = eventually(lambda: served.items(request_id))
    assert item.audit_object_key.startswith("team/logs/")
    stored = s3.boto3().get_object(Bucket="audit-records", Key=item.audit_object_key)["Body"].read()
    assert json.loads(stored)["requestId"] == request_id
    assert hashlib.sha256(stored).hexdigest() == item.audit_object_sha256


def test_everything_written_is_for_its_owner_alone(serve):
    served = serve().ready()
    request_id = served.call()[1]
    eventually(lambda: served.items(request_id))
    paths = [served.data, *served.data.rglob("*")]
    assert {folder_mode(path) for path in paths if path.is_dir()} == {0o700}
    assert {folder_mode(path) for path in paths if path.is_file()} == {0o600}


@pytest.mark.parametrize("name", ["proxy-1", "proxy-2", "shipper", "model"])
def test_a_child_that_is_killed_comes_back_and_every_answered_call_is_recorded(serve, name):
    served = serve(AUDIT_WORKERS="2").ready()
    answered = [served.try_call() for _ in range(5)]
    victim = served.child(name)
    os.kill(victim, signal.SIGKILL)
    answered += [served.try_call() for _ in range(20)]
    eventually(lambda: served.child(name) not in (None, victim))
    answered += [eventually(served.try_call)]
    known = {request_id for request_id in answered if request_id}
    eventually(lambda: known <= served.documents().keys())
    for numbers in sequences(served.documents()).values():
        assert numbers == list(range(len(numbers)))


def test_when_the_supervisor_is_killed_everything_ends_and_the_next_start_goes_on(serve):
    port = free_port()
    served = serve(serve_command(port)).ready()
    first = served.call()[1]
    status = served.status()
    served.process.kill()
    for child in status["children"].values():
        eventually(lambda pid=child["pid"]: not is_alive(pid))
    again = serve(serve_command(port), AUDIT_LISTEN=status["listen"]).ready()
    second = again.call()[1]
    eventually(lambda: {first, second} <= again.documents().keys())
    writers = {again.documents()[request_id]["writer"]["id"] for request_id in (first, second)}
    assert len(writers) == 1
    assert again.documents()[second]["writer"]["previousSha256"]


def test_a_supervisor_may_start_again_while_workers_of_a_killed_one_still_drain(serve):
    port = free_port()
    served = serve(serve_command(port, pace_ms=20)).ready()
    connection, response = served.start_call("Count to 40", stream=True)
    response.read(10)
    listen = served.status()["listen"]
    served.process.kill()
    again = serve(serve_command(port), AUDIT_LISTEN=listen).ready()
    assert again.call()[0] == 200
    with contextlib.suppress(Exception):
        response.read()
    connection.close()
    eventually(lambda: response.headers["x-request-id"] in again.documents())


def test_sigterm_lets_a_stream_finish_and_stores_its_record_before_the_end(serve):
    served = serve(serve_command(free_port(), pace_ms=20)).ready()
    connection, response = served.start_call("Count to 40", stream=True)
    response.read(10)
    served.process.terminate()
    assert response.read().endswith(b"data: [DONE]\n\n")
    connection.close()
    assert served.process.wait(60) == 0
    document = served.documents()[response.headers["x-request-id"]]
    assert document["outcome"] == "complete"
    assert served.items(document["requestId"])


def test_a_shipper_that_is_asked_to_stop_while_it_starts_ships_what_is_there(serve):
    served = serve().ready()
    for _ in range(3):
        victim = served.child("shipper")
        os.kill(victim, signal.SIGKILL)
        eventually(lambda pid=victim: served.child("shipper") not in (None, pid))
    request_id = served.call()[1]
    os.kill(served.child("shipper"), signal.SIGKILL)
    served.process.terminate()
    assert served.process.wait(60) == 0
    assert request_id in served.documents()
    assert served.items(request_id)


def test_a_call_that_outlasts_the_drain_is_recorded_as_interrupted(serve):
    served = serve(serve_command(free_port(), pace_ms=1000), AUDIT_DRAIN_TIMEOUT="300ms").ready()
    connection, response = served.start_call("Count to 40", stream=True)
    response.read(10)
    served.process.terminate()
    assert served.process.wait(60) == 0
    connection.close()
    assert served.documents()[response.headers["x-request-id"]]["outcome"] == "interrupted"


def test_a_second_signal_ends_it_sooner(serve):
    served = serve(serve_command(free_port(), pace_ms=1000)).ready()
    connection, response = served.start_call("Count to 40", stream=True)
    response.read(10)
    served.process.send_signal(signal.SIGINT)
    eventually(lambda: "stopping" in served.log.read_text())
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(60) == 0
    connection.close()
    document = served.documents()[response.headers["x-request-id"]]
    assert document["outcome"] == "interrupted"
    assert document["error"]["type"] == "drain_timeout"
    assert "killed" not in served.log.read_text()


def test_a_console_that_is_killed_comes_back_at_the_same_address_and_harms_no_call(serve):
    served = serve(AUDIT_CONSOLE="127.0.0.1:0").ready()
    url = served.status()["console"]
    request_id = served.call()[1]
    eventually(lambda: served.items(request_id))
    for _ in range(2):
        victim = served.child("console")
        os.kill(victim, signal.SIGKILL)
        assert served.call()[0] == 200
        eventually(lambda pid=victim: served.child("console") not in (None, pid))
        with urllib.request.urlopen(f"{url}/calls") as answer:
            assert request_id in answer.read().decode()
    served.process.terminate()
    assert served.process.wait(60) == 0
    assert "killed" not in served.log.read_text().partition("stopping")[2]


def test_a_second_supervisor_on_the_same_journal_is_refused(serve, tmp_path):
    served = serve().ready()
    second = serve(serve_command(free_port()))
    assert second.process.wait(60) == 2
    assert f"process {served.process.pid}" in served.log.read_text()
    assert served.call()[0] == 200


def test_a_model_server_that_is_not_ready_gets_no_calls(serve):
    code = "import time; time.sleep(1000)"
    command = [
        sys.executable,
        "-m",
        "llm_audit",
        "serve",
        "--",
        sys.executable,
        "-c",
        code,
        "--port",
        str(free_port()),
    ]
    served = serve(command)
    eventually(served.status)
    eventually(lambda: served.health() == 503)
    connection, response = served.start_call()
    with contextlib.closing(connection):
        assert response.status == 503
        assert int(response.headers["retry-after"]) > 0


def test_a_model_server_that_keeps_dying_is_started_again_with_a_pause(serve):
    command = [sys.executable, "-m", "llm_audit", "serve", "--", "false", "--port", str(free_port())]
    served = serve(command)
    eventually(lambda: "starting it again in 2 s (2 times in a row)" in served.log.read_text())
    assert "model ended with exit code 1" in served.log.read_text()


def test_the_demo_makes_its_calls_and_shows_where_they_are(serve, tmp_path):
    pytest.importorskip("openai")
    command = [sys.executable, "-m", "llm_audit", "serve", "--demo", "--demo-pace-ms", "0"]
    served = serve(command, AUDIT_UPSTREAM=f"http://127.0.0.1:{free_port()}")
    text = eventually(lambda: "Serving until Ctrl-C" in (log := served.log.read_text()) and log)
    assert "400" in text
    assert str(served.data / "objects" / "logs") in text
    assert str(served.data / "index" / "audit.sqlite3") in text
    assert "curl http://127.0.0.1:" in text
    assert "support-bot" in text
    assert served.call()[0] == 200
    assert len(eventually(served.documents)) >= 8


def test_a_journal_that_cannot_be_opened_gets_calls_refused_not_left_waiting_and_is_opened_once_it_can(serve):
    served = serve().ready()
    small, big = (64 * 1024, -1), (-1, -1)
    resource.prlimit(served.process.pid, resource.RLIMIT_FSIZE, small)  # which a restarted worker inherits
    victim = served.child("proxy-1")
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: served.child("proxy-1") not in (None, victim))
    status, _, body = eventually(lambda: b"journal" in (answer := served.call())[2] and answer)
    assert status == 503, body
    assert served.health() == 503
    resource.prlimit(served.child("proxy-1"), resource.RLIMIT_FSIZE, big)
    eventually(lambda: served.health() == 200)
    request_id = served.call()[1]
    eventually(lambda: request_id in served.documents())


def test_the_port_is_free_after_the_end(serve):
    served = serve().ready()
    host, _, port = served.status()["listen"].rpartition(":")
    served.process.terminate()
    assert served.process.wait(60) == 0
    with socket.create_server((host, int(port))):
        pass


def test_help_names_every_way_to_serve():
    done = subprocess.run(
        [sys.executable, "-m", "llm_audit", "serve", "--help"], capture_output=True, text=True, check=True
    )
    for way in (
        "serve --demo",
        "serve --upstream http://127.0.0.1:8001",
        "serve -- vllm serve MODEL --port 8001",
    ):
        assert way in done.stdout
