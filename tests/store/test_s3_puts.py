from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
import socket
import threading
import uuid
from contextlib import contextmanager

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from faults.scripted_store import LOST_ANSWER, OK, SILENT, scripted_store
from llm_audit.store.aws import S3Settings
from llm_audit.store.credentials import Credentials
from llm_audit.store.objects import Put
from llm_audit.store.s3 import S3Objects
from llm_audit.store.s3_puts import MOST_UNDER_WAY, SMALL_BYTES, S3Puts

DATA = b'{"schemaVersion":1}'
KEY = "logs/2026/11/24/0192f0c1~w-1-0-7.json"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def all_ended(puts: S3Puts) -> dict[object, bool]:
    ended: dict[object, bool] = {}
    while puts.under_way:
        ended.update(puts.ended())
    return ended


def put(puts: S3Puts, key: str = KEY, data: bytes = DATA) -> bool:
    assert puts.begin(key, key, data, digest(data))
    return all_ended(puts)[key]


@contextmanager
def quick(store: S3Objects):
    puts = store.quick_puts()
    try:
        yield puts
    finally:
        puts.close()


@pytest.fixture
def bucket(s3):
    return S3Objects(s3.new_bucket(f"audit-{uuid.uuid4().hex}"), s3.settings())


def test_what_it_says_is_stored_lies_in_the_bucket_with_its_checksum(bucket, s3):
    with quick(bucket) as puts:
        for number in range(50):
            data = b"%d" % number
            assert puts.begin(number, f"logs/{number}.json", data, digest(data))
        assert all_ended(puts) == dict.fromkeys(range(50), True)

    assert {entry.key: bucket.get(entry.key) for entry in bucket.list()} == {
        f"logs/{number}.json": b"%d" % number for number in range(50)
    }
    head = s3.boto3().head_object(Bucket=bucket.bucket, Key="logs/7.json", ChecksumMode="ENABLED")
    assert head["ContentType"] == "application/json"
    assert base64.b64decode(head["ChecksumSHA256"]).hex() == digest(b"7")


def test_a_name_that_is_taken_keeps_its_object_and_the_next_put_is_begun_at_once(bucket):
    assert bucket.put_new(KEY, b"first") is Put.CREATED
    with quick(bucket) as puts:
        assert put(puts) is False
        assert put(puts, "logs/other.json") is True

    assert bucket.get(KEY) == b"first"


@pytest.mark.parametrize("token", [None, "session-token"])
def test_the_signature_is_the_one_that_botocore_makes(token):
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen():
            connection, _ = server.accept()
            with connection:
                while DATA not in b"".join(heard):
                    heard.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        puts = S3Puts(
            "audit",
            S3Settings("eu-central-1", endpoint, allow_http=True),
            lambda: Credentials("AKID", "a+secret/=", token),
        )
        assert put(puts) is True
        puts.close()
        thread.join(10)

    head, _, body = b"".join(heard).partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    assert line == f"PUT /audit/{KEY} HTTP/1.1"
    assert body == DATA
    assert headers["if-none-match"] == "*"
    assert headers.get("x-amz-security-token") == token
    assert "expect" not in headers
    authorization = headers.pop("authorization")
    signed = re.search("SignedHeaders=([^,]+)", authorization)[1].split(";")
    assert {"host", "x-amz-date", "x-amz-content-sha256"} <= set(signed)
    assert authorization.endswith(_signature(f"{endpoint}/audit/{KEY}", headers, signed, token))


def _signature(url: str, headers: dict[str, str], signed: list[str], token: str | None) -> str:
    """Give what botocore signs the same request with, at the time that the request names."""
    at = dt.datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    assert abs(dt.datetime.now(dt.UTC) - at) < dt.timedelta(minutes=5)
    request = AWSRequest("PUT", url, headers={name: headers[name] for name in signed}, data=DATA)
    request.context["timestamp"] = headers["x-amz-date"]
    request.context["payload_signing_enabled"] = True
    auth = S3SigV4Auth(BotoCredentials("AKID", "a+secret/=", token), "s3", "eu-central-1")
    canonical = auth.canonical_request(request)
    return f"Signature={auth.signature(auth.string_to_sign(request, canonical), request)}"


@pytest.mark.parametrize("fault", [500, 503, 403, SILENT, LOST_ANSWER])
def test_a_store_at_fault_is_said_to_have_stored_nothing_and_left_alone_for_a_while(fault):
    with scripted_store() as server:
        server.mode = fault
        with quick(server.opened(time_scale=0.02)) as puts:
            assert put(puts) is False
            assert not puts.begin(2, KEY, DATA, digest(DATA))

            server.mode = OK
            while not puts.begin(3, "logs/3.json", DATA, digest(DATA)):
                pass
            assert all_ended(puts) == {3: True}
            assert put(puts, "logs/4.json") is True


def test_a_connection_that_the_store_closed_is_replaced_without_a_word():
    with scripted_store() as server, quick(server.opened()) as puts:
        assert put(puts, "logs/1.json") is True
        server.close_connections()

        assert put(puts, "logs/2.json") is True


def test_nobody_at_the_address_is_a_put_that_did_not_succeed():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = S3Settings(None, f"http://127.0.0.1:{port}", allow_http=True)
    puts = S3Puts("audit", settings, lambda: Credentials("a", "b"))

    assert put(puts) is False
    puts.close()


def test_what_is_large_or_oddly_named_or_too_many_goes_the_other_way():
    with scripted_store() as server:
        server.mode = SILENT
        with quick(server.opened()) as puts:
            large = bytes(SMALL_BYTES + 1)
            assert not puts.begin(0, KEY, large, digest(large))
            assert not puts.begin(0, "logs/a b.json", DATA, digest(DATA))
            assert not puts.begin(0, "logs/ü.json", DATA, digest(DATA))
            for number in range(MOST_UNDER_WAY):
                assert puts.begin(number, f"logs/{number}.json", DATA, digest(DATA))
            assert not puts.begin(0, "logs/more.json", DATA, digest(DATA))
            assert puts.under_way == MOST_UNDER_WAY


def test_without_credentials_nothing_is_begun():
    puts = S3Puts("audit", S3Settings("eu-central-1", None, allow_http=False), lambda: None)

    assert not puts.begin(1, KEY, DATA, digest(DATA))
    puts.close()
