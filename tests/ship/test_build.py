from __future__ import annotations

import base64
import hashlib
import json
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captures_loader import all_captures, capture
from llm_audit.journal.model import Chunk, End, ResponseStart
from llm_audit.record.encoding import HEAD_LIMIT
from llm_audit.record.schema import ErrorInfo, IdentitySource, Outcome
from llm_audit.ship.build import build, build_stub, first_values, header_fields
from ship_exchanges import (
    MONO_NS,
    MS,
    REQUEST_BODY,
    REQUEST_ID,
    RESPONSE_BODY,
    WRITER,
    damaged_exchange,
    ended_exchange,
    exchange_of,
    opening,
    request_start,
)

GOLDEN = Path(__file__).parent / "golden"


def document(built):
    return json.loads(built.data)


def test_a_small_chat_call_becomes_exactly_the_golden_document():
    assert build(ended_exchange(sequence=3), "ab" * 32).data == (GOLDEN / "chat.json").read_bytes().rstrip()


def test_a_stream_becomes_exactly_the_golden_document():
    ended = exchange_of(capture("chat-stream"), sequence=4)

    assert build(ended, None).data == (GOLDEN / "chat-stream.json").read_bytes().rstrip()


def test_building_twice_gives_the_same_bytes_and_the_digest_is_theirs():
    ended = ended_exchange()

    first, second = build(ended, None), build(ended, None)

    assert first == second
    assert first.sha256 == hashlib.sha256(first.data).hexdigest()
    assert build(ended, "00" * 32).sha256 != first.sha256


@pytest.mark.parametrize("one", all_captures(), ids=lambda one: one.id)
def test_every_capture_is_kept_exact_and_its_digests_can_be_recomputed(one):
    record = document(build(exchange_of(one), None))

    for part, message in (("request", one.request), ("response", one.response)):
        if message is None:
            assert record[part] is None
            continue
        body = exact_body(record[part])
        assert body == message.body
        assert record[part]["bytes"] == len(body)
        assert record[part]["sha256"] == hashlib.sha256(body).hexdigest()
        assert record[part]["headers"] == [list(field) for field in message.headers]
    assert record["error"] is None or record["error"]["type"] != "quarantined"


def exact_body(part) -> bytes:
    return part["bodyText"].encode() if "bodyText" in part else base64.b64decode(part["bodyBase64"])


def test_the_name_says_when_the_request_began_and_whose_it_is():
    built = build(ended_exchange(sequence=9, opened=opening(prefix="audit/logs", boot=2)), None)

    assert built.key == f"audit/logs/2026/11/24/{REQUEST_ID}.json"
    assert built.conflict_key == f"audit/logs/2026/11/24/{REQUEST_ID}~{WRITER}-2-9.json"


def test_times_come_from_the_monotonic_clock_and_add_up():
    chunks = (
        Chunk(MONO_NS + 120 * MS, b"ab"),
        Chunk(MONO_NS + 130 * MS, b""),
        Chunk(MONO_NS + 131 * MS, b"c"),
    )
    record = document(build(ended_exchange(chunks=chunks, ended_ms=250.9), None))

    assert record["startedAt"] == "2026-11-24T02:10:53.123Z"
    assert record["latencyMs"] == 250
    assert record["endedAt"] == "2026-11-24T02:10:53.373Z"
    assert record["timeToFirstChunkMs"] == 120
    assert record["firstChunkAt"] == "2026-11-24T02:10:53.243Z"
    assert record["chunkTimesMs"] == [120, 131]
    assert record["chunkCount"] == 2


def test_a_clock_that_went_backwards_gives_no_negative_time():
    chunks = (Chunk(MONO_NS - 5 * MS, b"ab"),)
    record = document(build(ended_exchange(chunks=chunks, ended_ms=-7), None))

    assert (record["latencyMs"], record["timeToFirstChunkMs"], record["chunkTimesMs"]) == (0, 0, [0])


def test_the_proxys_own_error_wins_over_what_the_server_said():
    failed = {"response": ResponseStart(500, b"content-type: application/json\r\n"), "status": 500}
    chunks = (Chunk(MONO_NS, b'{"error":{"message":"boom","type":"InternalServerError","code":500}}'),)
    theirs = document(build(ended_exchange(chunks=chunks, **failed), None))
    ours = document(build(ended_exchange(chunks=chunks, error=ErrorInfo("cut", "reset"), **failed), None))

    assert theirs["error"]["message"] == "boom"
    assert ours["error"] == {"type": "cut", "message": "reset"}


def test_a_truncated_exchange_says_so():
    record = document(build(ended_exchange(truncated=True), None))

    assert record["error"]["type"] == "truncated"
    assert record["request"]["bodyText"] == REQUEST_BODY.decode()


def test_an_interrupted_exchange_keeps_what_had_arrived():
    chunks = (Chunk(MONO_NS + MS, RESPONSE_BODY[:20]),)
    record = document(build(ended_exchange(outcome=Outcome.INTERRUPTED, status=None, chunks=chunks), None))

    assert record["outcome"] == "interrupted"
    assert record["statusCode"] is None
    assert record["response"]["deliveredBytes"] is None
    assert record["response"]["bodyText"] == RESPONSE_BODY[:20].decode()


def test_an_exchange_without_a_response_has_none():
    record = document(build(ended_exchange(outcome=Outcome.UPSTREAM_ERROR, status=502, response=None), None))

    assert record["response"] is None
    assert record["statusCode"] == 502
    assert record["chunkCount"] == 0


def test_a_refusal_keeps_no_body_but_its_digest():
    record = document(build(ended_exchange(outcome=Outcome.REJECTED, status=400), None))

    assert "bodyText" not in record["request"]
    assert record["request"]["sha256"] == hashlib.sha256(REQUEST_BODY).hexdigest()


def test_a_refused_request_line_that_could_not_be_parsed_leaves_its_fields_empty():
    request = request_start(method="", target="", header_lines=b"", client_address="", source=None, user=None)
    record = document(
        build(
            ended_exchange(
                outcome=Outcome.REJECTED, status=400, request=request, request_body=(), response=None
            ),
            None,
        )
    )

    assert [record["request"][name] for name in ("method", "path", "query", "headers")] == [
        None,
        None,
        None,
        [],
    ]
    assert record["client"] == {"address": None, "userAgent": None}
    assert record["source"] is None


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [("/v1/x", "/v1/x", None), ("/v1/x?", "/v1/x", ""), ("/v1/x?a=1?b", "/v1/x", "a=1?b")],
)
def test_path_and_query_are_kept_undecoded(target, path, query):
    record = document(build(ended_exchange(request=request_start(target=target)), None))

    assert (record["request"]["path"], record["request"]["query"]) == (path, query)


def test_content_preview_keeps_previews_and_digests_but_no_body():
    record = document(build(ended_exchange(opened=opening(content="preview")), None))

    assert record["promptPreview"]
    assert record["responsePreview"]
    assert record["usage"]["inputTokens"] == 3
    assert record["request"]["sha256"] == hashlib.sha256(REQUEST_BODY).hexdigest()
    assert not {"bodyText", "bodyBase64"} & (record["request"].keys() | record["response"].keys())


def test_content_none_keeps_not_a_word_of_what_was_said():
    ended = exchange_of(capture("chat-stream"), opened=opening(content="none"))
    failed = ended_exchange(
        opened=opening(content="none"),
        response=ResponseStart(400, b"content-type: application/json\r\n"),
        chunks=(
            Chunk(MONO_NS, b'{"error":{"message":"bad input: Say hi","type":"BadRequestError","code":400}}'),
        ),
    )
    record, error = document(build(ended, None)), document(build(failed, None))

    assert (record["promptPreview"], record["responsePreview"]) == (None, None)
    assert record["response"]["assembled"] is None
    assert record["response"]["sha256"] == hashlib.sha256(capture("chat-stream").response.body).hexdigest()
    assert record["usage"] == document(build(exchange_of(capture("chat-stream")), None))["usage"]
    assert error["error"]["type"] == "BadRequestError"
    assert b"Say hi" not in build(failed, None).data


def test_the_head_stays_within_its_limit_however_long_the_previews_may_be():
    said = "\u0001" * 70_000
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": said}]}).encode()
    chunks = tuple(Chunk(MONO_NS + n * 3 * MS, RESPONSE_BODY[:1]) for n in range(20_000))
    data = build(
        ended_exchange(request_body=(body,), chunks=chunks, opened=opening(body_preview=65_536)), None
    ).data

    assert data.index(b'"bodyText"') < HEAD_LIMIT
    assert len(data) > HEAD_LIMIT


def test_a_damaged_exchange_cannot_be_built_and_ships_as_a_stub_in_its_place():
    damaged = damaged_exchange(sequence=5, request=request_start(), request_id=REQUEST_ID.bytes)

    with pytest.raises(ValueError, match="checksum"):
        build(damaged, "ab" * 32)
    stub = build_stub(damaged, "ab" * 32, "a frame's checksum is wrong")

    record = document(stub)
    assert stub.is_stub
    assert stub.key == f"logs/2026/11/24/{REQUEST_ID}.json"
    assert record["writer"] == {"id": WRITER, "boot": 1, "sequence": 5, "previousSha256": "ab" * 32}
    assert record["error"] == {"type": "quarantined", "message": "a frame's checksum is wrong"}
    assert (record["outcome"], record["source"]) == ("interrupted", "app")


def test_a_stub_takes_what_its_end_says():
    end = End(0, Outcome.COMPLETE, 200, 10, MONO_NS + 90 * MS, None)
    known = damaged_exchange(request=request_start(), end=end)
    lost = damaged_exchange(request_id=REQUEST_ID.bytes, end=end)

    record = document(build_stub(known, None, "x"))
    assert (record["outcome"], record["statusCode"], record["latencyMs"]) == ("complete", 200, 90)
    record = document(build_stub(lost, None, "x"))
    assert (record["requestId"], record["latencyMs"]) == (str(REQUEST_ID), 0)
    assert record["startedAt"] == "2026-11-24T02:09:53.123Z"  # when its writer's boot opened


def test_a_stub_of_nothing_readable_has_an_id_made_from_its_place():
    first, again, other = (
        document(build_stub(damaged_exchange(sequence=n), None, "x"))["requestId"] for n in (1, 1, 2)
    )

    assert first == again != other
    assert uuid.UUID(first).version == 8
    assert uuid.UUID(first).variant == uuid.RFC_4122


def test_headers_are_kept_in_order_as_received():
    lines = b"A: 1\r\na:2\r\nEmpty:\r\nColon: x:y \r\nLatin: \xe9\r\n"

    headers = header_fields(lines)

    assert headers == (("A", "1"), ("a", "2"), ("Empty", ""), ("Colon", "x:y"), ("Latin", "é"))
    assert first_values(headers)["a"] == "1"
    assert "b" not in first_values(headers)


@given(
    request_body=st.binary(max_size=300),
    pieces=st.lists(st.binary(max_size=50), max_size=6),
    head=st.binary(max_size=100),
    target=st.text(max_size=30),
    source=st.none() | st.text(max_size=30),
    told=st.text(max_size=30),
    identity=st.sampled_from(IdentitySource),
    ended=st.tuples(st.sampled_from(Outcome), st.none() | st.integers(100, 599)),
)
def test_whatever_comes_builds_and_keeps_its_bytes(
    request_body, pieces, head, target, source, told, identity, ended
):
    outcome, status = ended
    ended = ended_exchange(
        request_body=(request_body,),
        request=request_start(
            target=target, source=source, user=source, header_lines=head, identity_source=identity
        ),
        error=ErrorInfo(told, told),
        chunks=[Chunk(MONO_NS, piece) for piece in pieces],
        response=ResponseStart(200, head),
        outcome=outcome,
        status=status,
    )

    record = document(build(ended, None))
    stub = document(build_stub(ended, None, told))

    assert stub["error"]["type"] == "quarantined"
    assert stub["startedAt"] == record["startedAt"]
    assert exact_body(record["response"]) == b"".join(pieces)
    assert record["request"]["sha256"] == hashlib.sha256(request_body).hexdigest()
