from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llm_audit.store.aws import S3Settings
from llm_audit.store.credentials import Credentials, find_signer


def settings(**keys: str) -> S3Settings:
    return S3Settings("eu-central-1", None, allow_http=False, static_keys=keys)


@contextmanager
def container_role(answer: dict):
    """Serve what an ECS agent serves to a task: the credentials of its role."""

    class Agent(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(answer).encode()
            self.send_response(200 if answer else 500)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Agent) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/role"
        finally:
            server.shutdown()


@pytest.fixture(autouse=True)
def nothing_else(monkeypatch, tmp_path):
    """No credentials but those of the test."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def test_keys_of_the_profile_win_over_the_environments():
    sign = find_signer(
        settings(access_key_id="p", secret_access_key="q", session_token="t"),
        {"AWS_ACCESS_KEY_ID": "e", "AWS_SECRET_ACCESS_KEY": "f"},
    )

    assert sign() == Credentials("p", "q", "t")


def test_keys_of_the_environment_come_with_their_session_token():
    keys = {"AWS_ACCESS_KEY_ID": "e", "AWS_SECRET_ACCESS_KEY": "f"}

    assert find_signer(settings(), keys)() == Credentials("e", "f", None)
    assert find_signer(settings(), keys | {"AWS_SESSION_TOKEN": "t"})() == Credentials("e", "f", "t")


def test_a_tasks_role_gives_its_credentials(monkeypatch):
    role = {
        "AccessKeyId": "r",
        "SecretAccessKey": "s",
        "Token": "t",
        "Expiration": "2099-01-01T00:00:00Z",
    }
    with container_role(role) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)

        assert find_signer(settings(), {})() == Credentials("r", "s", "t")


def test_where_a_role_cannot_be_asked_there_are_none_and_a_warning_says_so(monkeypatch, caplog):
    with container_role({}) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)

        assert find_signer(settings(), {})() is None
    assert "no AWS credentials for quick puts" in caplog.text


def test_a_role_whose_credentials_have_expired_gives_none_until_they_are_renewed(monkeypatch, caplog):
    role = {
        "AccessKeyId": "r",
        "SecretAccessKey": "s",
        "Token": "t",
        "Expiration": "2026-01-01T00:00:00Z",
    }
    with container_role(role) as url:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        sign = find_signer(settings(), {})

        assert (sign(), sign()) == (None, None)
        role["Expiration"] = "2099-01-01T00:00:00Z"
        assert sign() == Credentials("r", "s", "t")
    assert "no AWS credentials for quick puts" in caplog.text


def test_where_there_is_no_role_there_are_none():
    assert find_signer(settings(), {})() is None


def test_credentials_are_shown_nowhere():
    assert "secret" not in f"{Credentials('key', 'secret', 'token')!r}{Credentials('key', 'secret')}"
