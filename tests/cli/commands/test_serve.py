"""What ``serve`` refuses before anything starts: each in one line that says what to change, with exit code 2."""

import os
import socket
import subprocess
import sys

import pytest

from llm_audit.cli.startup import lock_journal


def serve(folder, *arguments, **environ):
    """Run ``llm-audit serve`` where it must refuse; give its exit code and what it said."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AUDIT_")}
    done = subprocess.run(
        [sys.executable, "-m", "llm_audit", "serve", *arguments],
        env={**inherited, "AUDIT_DATA_DIR": str(folder / "data"), "AUDIT_LISTEN": "127.0.0.1:0", **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def assert_refused(result, *words):
    code, said = result
    assert code == 2, said
    assert said.count("\n") == 1, said
    for word in words:
        assert word in said


def test_a_wrong_setting_is_refused(tmp_path):
    result = serve(tmp_path, AUDIT_DURABILITY="paper")
    assert_refused(result, "AUDIT_DURABILITY", "'paper'", "`host` or `process`")


def test_a_wrong_flag_is_refused(tmp_path):
    assert_refused(serve(tmp_path, "--workers", "0"), "--workers", "AUDIT_WORKERS", "'0'", "from 1 to 64")


def test_a_port_that_is_taken_is_refused(tmp_path, taken_port):
    result = serve(tmp_path, "--listen", f"127.0.0.1:{taken_port}")
    assert_refused(result, "AUDIT_LISTEN", str(taken_port), "in use")


def test_a_model_servers_port_that_is_taken_is_refused(tmp_path, taken_port):
    result = serve(tmp_path, "--", sys.executable, "--port", str(taken_port))
    assert_refused(result, "model server's port", str(taken_port), "in use")
    result = serve(tmp_path, "--demo", AUDIT_UPSTREAM=f"http://127.0.0.1:{taken_port}")
    assert_refused(result, "model server's port", str(taken_port), "in use")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "data").touch()
    assert_refused(serve(tmp_path), "AUDIT_DATA_DIR", str(tmp_path / "data"), "Not a directory")


def test_a_second_supervisor_on_the_same_journal_is_refused(tmp_path):
    journal = tmp_path / "data" / "journal"
    journal.mkdir(parents=True)
    holder = lock_journal(journal)
    assert_refused(serve(tmp_path), "AUDIT_JOURNAL_DIR", str(journal), f"process {os.getpid()}")
    holder.release()


def test_a_certificate_without_its_key_is_refused(tmp_path):
    assert_refused(serve(tmp_path, AUDIT_TLS_CERT="cert.pem"), "AUDIT_TLS_KEY")


def test_a_file_of_keys_that_is_missing_is_refused(tmp_path):
    result = serve(tmp_path, "--api-keys", str(tmp_path / "keys.json"))
    assert_refused(result, "AUDIT_API_KEYS", "keys.json", "No such file")


def test_a_model_server_that_others_could_reach_is_refused(tmp_path):
    result = serve(tmp_path, "--", sys.executable, "--host", "0.0.0.0")
    assert_refused(result, "--host 0.0.0.0", "--allow-model-host")


def test_a_model_server_that_does_not_exist_is_refused(tmp_path):
    assert_refused(serve(tmp_path, "--", "no-such-model-server"), "'no-such-model-server'")


def test_the_demo_takes_no_upstream_on_another_machine(tmp_path):
    result = serve(tmp_path, "--demo", AUDIT_UPSTREAM="http://192.0.2.1:8001")
    assert_refused(result, "AUDIT_UPSTREAM", "http://192.0.2.1:8001")


@pytest.mark.parametrize(
    "arguments", [("--demo", "--", "x"), ("--upstream", "http://127.0.0.1:1", "--", "x")]
)
def test_two_kinds_of_model_server_at_once_are_refused(tmp_path, arguments):
    code, said = serve(tmp_path, *arguments)
    assert code == 2
    assert "choose one of" in said


def test_nothing_is_left_locked_or_running_by_a_refusal(tmp_path, taken_port):
    assert_refused(serve(tmp_path, "--listen", f"127.0.0.1:{taken_port}"), "AUDIT_LISTEN")
    lock = lock_journal(tmp_path / "data" / "journal")
    assert not lock.last_one_died
    lock.release()
