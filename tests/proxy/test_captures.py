"""Every capture of a real model server, replayed through the proxy: in the recorded pieces, then byte by byte."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from captures_loader import Capture, all_captures
from llm_audit.journal.model import EndedExchange, RecordSettings
from llm_audit.proxy.paths import Handling, PathTable, WrongMethod
from llm_audit.record.schema import Outcome as Ended
from llm_audit.ship.build import build
from proxy_stage import REQUEST_ID, Script, UpstreamCall
from proxy_wire import Outcome, h11_responses, wire

EXPECTED = json.loads(
    (Path(__file__).parents[1] / "dialects" / "expected_fields.json").read_text(encoding="utf-8")
)
PATHS = PathTable()
IDENTITY = (
    b"x-llm-source: finance-app\r\nx-llm-user: ann\r\nx-llm-request-type: ask\r\n"
    b"x-request-id: 01890a5d-ac96-774b-bcce-b302099a8057\r\n"
)
OWN_FRAMING = {"content-length", "transfer-encoding", "connection", "keep-alive", "x-request-id"}


def handling(one: Capture) -> Handling | WrongMethod | None:
    """What the gate does with the capture's path."""
    return PATHS.find(one.method.encode(), one.target.encode())


FORWARDED = [one for one in all_captures() if handling(one) in {Handling.AUDIT, Handling.PASS}]
ANSWERED = [one for one in all_captures() if one not in FORWARDED]
LEFT = {"disconnect-mid-stream", "disconnect-nonstream"}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    with wire(tmp_path_factory.mktemp("captures"), record=RecordSettings(body_preview=80)) as one:
        yield one


def with_identity(raw: bytes) -> bytes:
    """Add the caller's headers; a request id of the capture's own makes room for a UUID."""
    head, end, body = raw.partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    kept = [field for field in fields if not field.lower().startswith(b"x-request-id:")]
    return b"\r\n".join([line, IDENTITY + b"\r\n".join(kept)]) + end + body if kept else raw


def replay(one: Capture, *, bytewise: bool) -> Script:
    """Play the model server's part."""

    async def play(upstream: UpstreamCall) -> None:
        await upstream.read_body()
        pieces = one.pieces
        if bytewise:
            pieces = [one.raw_response[at : at + 1] for at in range(len(one.raw_response))]
        for piece in pieces:
            upstream.writer.write(piece)
            await asyncio.sleep(0)
        await upstream.writer.drain()
        if one.name in LEFT:
            await upstream.gone()
        elif "close" in (one.response.header("connection") or "") or one.request.start_line.endswith("/1.0"):
            upstream.close()

    return play


def send(proxy, one: Capture, *, bytewise: bool) -> Outcome:
    """Make the captured call through the proxy."""
    raw = with_identity(one.raw_request)
    leave_after = None
    if one.name in LEFT:
        leave_after = 0 if one.response is None else len(one.response.body)
    pieces = [raw[at : at + 1] for at in range(len(raw))] if bytewise else [raw]
    return proxy.exchange(pieces, script=replay(one, bytewise=bytewise), leave_after=leave_after)


def check_client(one: Capture, outcome: Outcome) -> None:
    """The client got what the model server said."""
    answers, complaint = h11_responses(outcome.wire, [one.method.encode()], ended=outcome.closed)
    if one.response is None:
        assert outcome.wire == b""
        return
    (answer,) = answers
    version, status, reason = one.response.start_line.split(" ", 2)
    assert version == "HTTP/1.1"
    assert answer.start == (status.encode(), reason.encode("latin-1"))
    got = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
    assert sorted(pair for pair in got if pair[0].lower() not in OWN_FRAMING) == sorted(
        pair for pair in one.response.headers if pair[0].lower() not in OWN_FRAMING
    )
    assert answer.values(b"x-request-id") == [b"01890a5d-ac96-774b-bcce-b302099a8057"]
    assert answer.body == one.response.body
    assert answer.complete == one.response.complete
    assert complaint is None


def check_journal(one: Capture, ended: EndedExchange) -> None:
    """The journal holds every byte of both bodies."""
    assert ended.damage is None
    assert ended.request_id == REQUEST_ID
    assert b"".join(ended.request_body) == one.request.body
    body = b"".join(chunk.data for chunk in ended.chunks)
    left = one.name in LEFT
    assert ended.end.outcome is (Ended.CLIENT_DISCONNECTED if left else Ended.COMPLETE)
    assert ended.end.status_code == one.status
    if one.response is not None:
        assert body == one.response.body
        assert ended.end.delivered_bytes == len(one.response.body)


def check_record(one: Capture, ended: EndedExchange) -> None:
    """The record says what the golden table of the dialects says."""
    record = json.loads(build(ended, None).data)
    expected = EXPECTED[one.id]
    usage = record["usage"]
    assert {
        "operation": record["operation"],
        "model": [record["model"]["requested"], record["model"]["served"]],
        "usage": [
            usage[name]
            for name in ("inputTokens", "outputTokens", "totalTokens", "cachedInputTokens", "reasoningTokens")
        ],
        "finishReasons": record["finishReasons"],
        "stream": record["stream"],
        "prompt": record["promptPreview"],
        "response": record["responsePreview"],
        "assembled": bool((record["response"] or {}).get("assembled")),
    } == {name: value for name, value in expected.items() if name != "error"}
    if one.name in LEFT:
        assert record["error"]["type"] == "client_disconnected"
        assert record["outcome"] == "client_disconnected"
    else:
        error = record["error"]
        assert (error and [error["type"], error["message"][:60]]) == expected["error"]
        assert record["outcome"] == "complete"
    assert record["source"] == "finance-app"
    assert record["request"]["bytes"] == len(one.request.body)


@pytest.mark.parametrize("bytewise", [False, True], ids=["pieces", "bytewise"])
@pytest.mark.parametrize("one", FORWARDED, ids=lambda one: one.id)
def test_a_capture_comes_through_unchanged_and_is_recorded(proxy, one, bytewise):
    outcome = send(proxy, one, bytewise=bytewise)
    check_client(one, outcome)
    (raw,) = outcome.upstream
    assert raw.partition(b"\r\n\r\n")[2] == one.request.body
    if handling(one) is Handling.PASS:
        assert outcome.ended == []
        return
    (ended,) = outcome.ended
    check_journal(one, ended)
    check_record(one, ended)


def gates_answer(one: Capture) -> int:
    """The status that the gate gives by itself."""
    if " " not in one.request.start_line:
        return 400
    decided = handling(one)
    if isinstance(decided, WrongMethod):
        return 405
    return {Handling.HEALTH: 503, Handling.NOT_IMPLEMENTED: 501, None: 404}[decided]


@pytest.mark.parametrize("bytewise", [False, True], ids=["pieces", "bytewise"])
@pytest.mark.parametrize("one", ANSWERED, ids=lambda one: one.id)
def test_a_capture_whose_path_is_not_forwarded_gets_the_gates_answer(proxy, one, bytewise):
    outcome = send(proxy, one, bytewise=bytewise)
    (answer,), complaint = h11_responses(outcome.wire, [one.method.encode()], ended=outcome.closed)
    assert complaint is None
    assert int(answer.start[0]) == gates_answer(one)
    assert outcome.upstream == []
    if handling(one) is Handling.HEALTH:
        assert outcome.ended == []
        return
    (ended,) = outcome.ended
    assert ended.end.outcome is Ended.REJECTED
    assert json.loads(build(ended, None).data)["statusCode"] == gates_answer(one)
