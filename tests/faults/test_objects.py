"""The check itself: it must be able to find what it looks for."""

import hashlib
import json

import pytest

from faults.clients import Call, Ledger
from faults.objects import compare, read_objects


def stored(folder, sequence, before=None, **changes):
    """Put an object there as the shipper would; gives its digest."""
    answer = {"bodyText": "hello", "sha256": hashlib.sha256(b"hello").hexdigest()}
    asked = {"path": "/v1/x", "bodyText": "ask", "sha256": hashlib.sha256(b"ask").hexdigest()}
    record = {
        "requestId": f"id-{sequence}", "outcome": "complete", "statusCode": 200, "error": None,
        "writer": {"id": "w-1", "boot": 1, "sequence": sequence, "previousSha256": before},
        "request": asked, "response": answer, **changes,
    }  # fmt: skip
    data = json.dumps(record).encode()
    (folder / f"{sequence}-{len(list(folder.iterdir()))}.json").write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def seen(number, **changes):
    call = Call(f"id-{number}", b"ask")
    call.status, call.content, call.ended = 200, b"hello", True
    call.head = b"HTTP/1.1 200 OK\r\nx-request-id: " + call.request_id.encode() + b"\r\n\r\n"
    for name, value in changes.items():
        setattr(call, name, value)
    return call


def findings(folder, *calls):
    return dict(+compare(Ledger(list(calls)), read_objects(folder)).findings)


def test_what_matches_gives_no_finding(tmp_path):
    last = stored(tmp_path, 0)
    stored(tmp_path, 1, last)
    assert findings(tmp_path, seen(0), seen(1)) == {}


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"content": b"hellO"}, "received bytes that are not recorded"),
        ({"content": b"hell"}, "a whole answer that is recorded otherwise"),
        ({"status": 502}, "another status than the client saw"),
        ({"sent": b"asked"}, "a request that is recorded otherwise"),
        ({"head": b"HTTP/1.1 200 OK\r\nx-request-id: other\r\n\r\n"}, "an answer with another request id"),
    ],
)
def test_a_difference_between_client_and_record_is_found(tmp_path, changes, finding):
    stored(tmp_path, 0)
    assert finding in findings(tmp_path, seen(0, **changes))


def test_a_lost_call_a_gap_a_double_and_a_forged_record_are_found(tmp_path):
    last = stored(tmp_path, 0)
    stored(tmp_path, 2, last)
    stored(tmp_path, 3, "0" * 64, requestId="id-2")
    stored(tmp_path, 3, "0" * 64, requestId="id-9")
    assert findings(tmp_path, seen(0), seen(1), seen(2)) == {
        "answered, and not on record": 1,
        "gap in a sequence": 1,
        "broken link of the chain": 1,
        "recorded twice": 1,
        "two objects for one place in the sequence": 1,
        "a record of a call that nobody made": 1,
    }


def refused(number):
    return seen(number, status=503, content=b'{"error":{"code":"draining"}}')


@pytest.mark.parametrize(("said", "missing", "beyond"), [(1, 1, 0), (2, 0, 0), (3, 0, 0), (4, 0, 1)])
def test_refusals_without_a_record_must_be_counted_and_no_more_than_were_asked_for(
    tmp_path, said, missing, beyond
):
    message = f"{said} calls refused with 503 draining and not recorded one by one"
    error = {"type": "draining", "message": message}
    stored(tmp_path, 0, request={"path": None}, response=None, error=error, statusCode=503)
    silent = Call("id-7", b"ask")
    found = findings(tmp_path, refused(1), refused(2), silent)
    assert found.get("answered 503 draining, neither recorded nor counted", 0) == missing
    assert found.get("counted, and nobody asked", 0) == beyond
