from __future__ import annotations

import base64
import hashlib
import socket
import threading
import uuid
from contextlib import contextmanager

import pytest

from llm_audit.store.aws import S3Settings
from llm_audit.store.objects import (
    ObjectRefusedError,
    Put,
    StoreDeniedError,
    StoreUnavailableError,
)
from llm_audit.store.s3 import S3Objects

KEY = "logs/2026/11/24/0192b3c4-0000-7000-8000-000000000001.json"


@contextmanager
def answering(answer: bytes | None):
    """Take a request's head and answer with these bytes; None: it never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        held = []
        seen = []

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                held.append(connection)
                seen.append(connection.recv(65536))
                if answer is not None:
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for connection in held:
                connection.close()


def opened(endpoint: str, **more) -> S3Objects:
    keys = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "very-secret"}
    return S3Objects(
        "audit",
        S3Settings(region="us-east-1", endpoint_url=endpoint, allow_http=True, static_keys=keys),
        **more,
    )


def http(status: str, body: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


def error_body(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>StringToSign very-secret</Message></Error>".encode()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (http("500 Internal Server Error"), StoreUnavailableError),
        (http("503 Slow Down", error_body("SlowDown")), StoreUnavailableError),
        (http("400 Bad Request", error_body("RequestTimeout")), StoreUnavailableError),
        (b"garbage\r\n\r\n", StoreUnavailableError),
        (b"", StoreUnavailableError),
        (http("200 OK"), StoreUnavailableError),  # no ETag: nobody stored anything
        (http("301 Moved Permanently", error_body("PermanentRedirect")), StoreDeniedError),
        (http("400 Bad Request", error_body("AuthorizationHeaderMalformed")), StoreDeniedError),
        (http("400 Bad Request", error_body("ExpiredToken")), StoreDeniedError),
        (http("403 Forbidden", error_body("SignatureDoesNotMatch")), StoreDeniedError),
        (http("401 Unauthorized"), StoreDeniedError),
        (http("404 Not Found", error_body("NoSuchBucket")), StoreDeniedError),
        (http("404 Not Found"), StoreDeniedError),
        (http("400 Bad Request", error_body("EntityTooLarge")), ObjectRefusedError),
        (http("413 Content Too Large"), ObjectRefusedError),
    ],
)
def test_a_stores_answer_becomes_an_error_of_ours_that_tells_no_secret(answer, expected):
    with answering(answer) as (endpoint, _), pytest.raises(expected) as raised:
        opened(endpoint).put_new(KEY, b"{}")

    assert type(raised.value) is expected
    assert KEY in str(raised.value) or "bucket" in str(raised.value)
    assert "very-secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("status", ["409 Conflict", "412 Precondition Failed"])
def test_a_conflict_says_that_the_name_is_taken(status):
    with answering(http(status)) as (endpoint, _):
        assert opened(endpoint).put_new(KEY, b"{}") is Put.EXISTS


def test_a_store_that_never_answers_is_given_up_after_the_time_limit():
    with answering(None) as (endpoint, _), pytest.raises(StoreUnavailableError):
        opened(endpoint, time_scale=0.01).put_new(KEY, b"{}")


def test_a_refused_connection_is_a_store_that_is_away():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))

        with pytest.raises(StoreUnavailableError):
            opened(f"http://127.0.0.1:{unused.getsockname()[1]}").put_new(KEY, b"{}")


def test_a_put_states_its_condition_its_checksum_and_its_type():
    with answering(http("503 Slow Down")) as (endpoint, seen), pytest.raises(StoreUnavailableError):
        opened(endpoint).put_new(KEY, b"{}")

    head = seen[0].decode().lower()
    assert head.startswith(f"put /audit/{KEY} http/1.1")
    assert "\r\nif-none-match: *\r\n" in head
    assert "\r\ncontent-type: application/json\r\n" in head
    digest = base64.b64encode(hashlib.sha256(b"{}").digest()).decode()
    assert f"\r\nx-amz-checksum-sha256: {digest}\r\n".lower() in head


def test_missing_credentials_are_named_as_such(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    with answering(http("404 Not Found")) as (endpoint, seen):
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", endpoint)
        store = S3Objects("audit", S3Settings(region="us-east-1", endpoint_url=endpoint, allow_http=True))

        with pytest.raises(StoreDeniedError, match="AWS_ACCESS_KEY_ID"):
            store.put_new(KEY, b"{}")

    assert seen[0].startswith(b"PUT /latest/api/token ")


def test_an_object_of_many_megabytes_goes_in_one_piece(s3):
    bucket = s3.new_bucket(f"audit-{uuid.uuid4().hex}")
    data = b"0123456789abcdef" * (12 << 16)

    S3Objects(bucket, s3.settings()).put_new(KEY, data)

    head = s3.boto3().head_object(Bucket=bucket, Key=KEY, ChecksumMode="ENABLED")
    assert head["ContentLength"] == len(data)
    assert head["ContentType"] == "application/json"
    assert head["ETag"].strip('"') == hashlib.md5(data).hexdigest()  # a multipart ETag would differ
    assert head["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(data).digest()).decode()


def test_a_bucket_that_does_not_exist_is_named(s3):
    store = S3Objects(f"missing-{uuid.uuid4().hex}", s3.settings())

    with pytest.raises(StoreDeniedError, match="missing-"):
        store.put_new(KEY, b"{}")
    with pytest.raises(StoreDeniedError, match="create the bucket"):
        store.probe()
