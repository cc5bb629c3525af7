"""What one worker decides beyond a connection: readiness, drain, limits of time, a journal that cannot take more."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from llm_audit.journal.counted import CountedCalls
from llm_audit.journal.model import Durability
from llm_audit.proxy.keys import Key, KeySet, digest_of, new_key, write_keys
from llm_audit.proxy.usage_plan import Limits
from llm_audit.record.schema import IdentitySource, Outcome
from proxy_stage import CALLER, Client, Stage, UpstreamCall, answer, call, ok, play, response_body, stage

HEALTH = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def later(on: Stage, seconds: float) -> None:
    """Let the limits be looked at as if so much time had passed."""
    loop = asyncio.get_running_loop()
    on.service.clock = lambda: loop.time() + seconds
    on.service.tick()


async def silent(upstream: UpstreamCall) -> None:
    """A model server that takes a request and says nothing."""
    await upstream.read_body()
    await upstream.gone()


async def reaches_upstream(on: Stage, request: bytes) -> Client:
    """Send a request and wait until the model server has it."""
    client = await on.client()
    await client.send(request)
    while not (on.model.calls and on.model.calls[-1].body):
        await asyncio.sleep(0.001)
    return client


@pytest.mark.parametrize(
    ("ready", "answers", "status", "upstream"),
    [(True, True, 200, "ok"), (True, False, 503, "unreachable"), (False, False, 503, "starting")],
)
def test_health_answers_for_proxy_journal_and_upstream_together(
    tmp_path: Path, *, ready: bool, answers: bool, status: int, upstream: str
) -> None:
    async def main() -> None:
        async with stage(tmp_path) as on:
            on.service.upstream_ready, on.service.upstream_answers = ready, answers
            got, _, body = await on.ask(HEALTH)
            assert got == status
            assert json.loads(body)["upstream"] == upstream
            await on.exchanges(0)

    play(main)


def test_while_a_launched_model_server_starts_calls_get_503_with_retry_after_and_a_record(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with stage(tmp_path, upstream_is_launched=True) as on:
            status, head, body = await on.ask(call())
            assert status == 503
            assert b"retry-after: 5\r\n" in head
            assert json.loads(body)["error"]["code"] == "upstream_starting"
            ended = await on.only_exchange()
            assert ended.end is not None
            assert ended.end.outcome is Outcome.REJECTED
            assert ended.request is not None
            assert ended.request.source == "finance-app"

    play(main)


def test_a_drain_lets_calls_in_flight_finish_and_closes_what_rests(tmp_path: Path) -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def script(upstream: UpstreamCall) -> None:
            await upstream.read_body()
            await go_on.wait()
            await upstream.send(ok(b"done"))

        async with stage(tmp_path, script) as on:
            resting = await on.client()
            busy = await reaches_upstream(on, call())
            on.service.drain()
            assert await resting.rest() == b""
            assert not on.service.drained.is_set()
            go_on.set()
            assert (await busy.response())[2] == b"done"
            assert await busy.rest() == b""
            await on.service.drained.wait()
            assert (await on.only_exchange()).end is not None

    play(main)


def test_what_outlasts_a_drain_is_interrupted_and_recorded_with_what_had_arrived(tmp_path: Path) -> None:
    async def main() -> None:
        async def script(upstream: UpstreamCall) -> None:
            await upstream.read_body()
            await upstream.send(STREAM_HEAD, b"5\r\nfirst\r\n")
            await upstream.gone()

        async with stage(tmp_path, script) as on:
            client = await on.client()
            await client.send(call())
            await client.reader.readuntil(b"first\r\n")
            on.service.drain()
            on.service.interrupt_all("too long")
            await client.rest()
            ended = await on.only_exchange()
            assert ended.end is not None
            assert (ended.end.outcome, ended.end.delivered_bytes) == (Outcome.INTERRUPTED, None)
            assert response_body(ended) == b"first"

    play(main)


def test_a_silent_model_server_ends_as_504(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path, silent) as on:
            client = await reaches_upstream(on, call())
            later(on, 1)  # notices the activity
            later(on, 700)
            assert (await client.response())[0] == 504
            ended = await on.only_exchange()
            assert ended.end is not None
            assert ended.end.outcome is Outcome.UPSTREAM_TIMEOUT

    play(main)


def test_a_head_that_does_not_become_whole_is_answered_408_and_recorded(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path) as on:
            client = await on.client()
            await client.send(call()[:20])
            while not next(iter(on.service.connections))._buffer:
                await asyncio.sleep(0.001)
            later(on, 31)
            assert (await client.response())[0] == 408
            ended = await on.only_exchange()
            assert ended.end is not None
            assert ended.end.status_code == 408

    play(main)


def test_a_connection_that_says_nothing_is_closed_without_a_record(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path) as on:
            client = await on.client()
            while not on.service.connections:
                await asyncio.sleep(0.001)
            later(on, 100)
            assert await client.rest() == b""
            await on.exchanges(0)

    play(main)


def test_a_body_that_stops_coming_is_answered_408(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path) as on:
            client = await on.client()
            await client.send(call(b"x" * 100)[:-50])
            while not on.writer.open_count:
                await asyncio.sleep(0.001)
            later(on, 1)
            later(on, 32)
            assert (await client.response())[0] == 408
            ended = await on.only_exchange()
            assert ended.end is not None
            assert ended.end.outcome is Outcome.CLIENT_DISCONNECTED
            assert b"".join(ended.request_body) == b"x" * 50

    play(main)


def test_a_full_journal_refuses_new_calls_and_lets_open_ones_end(tmp_path: Path) -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        async def script(upstream: UpstreamCall) -> None:
            await upstream.read_body()
            await go_on.wait()
            await upstream.send(ok(b"done"))

        async with stage(tmp_path, script, answer(ok()), journal_limit_bytes=8 * 2**20) as on:
            busy = await reaches_upstream(on, call())
            statuses = []
            while not statuses or statuses[-1] == 200:
                status, head, body = await on.ask(call(b"x" * 200_000))
                statuses.append(status)
                assert len(statuses) < 100
            assert statuses[-1] == 503
            assert json.loads(body)["error"]["code"] == "journal_full"
            assert b"retry-after:" in head
            assert json.loads((await on.ask(HEALTH))[2])["journal"] in ("ok", "full")
            go_on.set()
            assert (await busy.response())[2] == b"done"

    play(main)


def test_by_policy_a_full_journal_lets_calls_pass_unaudited_and_counts_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path, journal_limit_bytes=8 * 2**20, pass_when_full=True) as on:
            page = CountedCalls(on.directory)
            while not page.pending():
                assert (await on.ask(call(b"x" * 200_000)))[0] == 200
                assert len(on.model.calls) < 100
            (counted,) = page.pending()
            assert (counted.first, counted.last) == (1, 1)
            later(on, 2)  # there is room for a small record all the same
            assert page.pending() == []
            page.close()
            ends = [one.end for one in await on.exchanges(on.writer.next_sequence)]
            gaps = [end.error.message for end in ends if end and end.error and end.error.type == "unaudited"]
            assert len(gaps) == 1
            assert gaps[0].startswith("1 call went through unrecorded")

    play(main)


def test_without_a_writer_calls_that_pass_are_counted_all_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path, pass_when_full=True) as on:
            on.writer.fail(OSError(5, "Input/output error"))
            assert (await on.ask(call()))[0] == 200
            page = CountedCalls(on.directory)
            assert [(counted.first, counted.last) for counted in page.pending()] == [(1, 1)]
            page.close()

    play(main)


def test_a_failed_sync_resets_clients_and_refuses_calls_until_a_new_boot(tmp_path: Path) -> None:
    async def main() -> None:
        async def script(upstream: UpstreamCall) -> None:
            await upstream.read_body()
            await upstream.send(STREAM_HEAD, b"5\r\nfirst\r\n")
            await upstream.gone()

        async with stage(tmp_path, script) as on:
            client = await on.client()
            await client.send(call())
            await client.reader.readuntil(b"first\r\n")
            on.writer.fail(OSError(5, "Input/output error"))
            assert await client.rest() == b""
            status, _, body = await on.ask(call())
            assert status == 503
            assert json.loads(body)["error"]["code"] == "journal_failed"
            assert json.loads((await on.ask(HEALTH))[2])["journal"] == "failed"

    play(main)


def test_in_host_durability_a_call_goes_through_and_is_recorded(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path, durability=Durability.HOST) as on:
            assert (await on.ask(call(b"x" * 300_000)))[0] == 200
            ended = await on.only_exchange()
            assert b"".join(ended.request_body) == b"x" * 300_000

    play(main)


def test_refusals_beyond_the_budget_become_one_record_with_their_count(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path) as on:
            client = await on.client()
            for _ in range(250):
                await client.send(call(headers=b""))
                assert (await client.response())[0] == 400
            await on.settled()
            recorded = on.writer.next_sequence
            later(on, 5)
            tallies = on.writer.next_sequence - recorded
            ended = (await on.exchanges(recorded + tallies))[recorded:]
            counted = sum(
                int(one.end.error.message.split(" ")[0]) for one in ended if one.end and one.end.error
            )
            assert recorded + counted == 250
            assert tallies >= 1

    play(main)


def test_an_api_key_vouches_for_its_source_and_never_reaches_the_model_server(tmp_path: Path) -> None:
    async def main() -> None:
        secret = new_key()
        key = Key(
            id="finance",
            sha256=digest_of(secret),
            sources=frozenset({"finance-app"}),
            limits=Limits(rate=None, burst=None, daily_quota=None),
            enabled=True,
            created="2026-11-24T00:00:00.000Z",
        )
        write_keys(tmp_path / "keys.json", KeySet((key,)))
        async with stage(tmp_path, api_keys=tmp_path / "keys.json") as on:
            with_key = CALLER + b"x-api-key: " + secret.encode() + b"\r\n"
            assert (await on.ask(call()))[0] == 403
            assert (await on.ask(call(headers=with_key.replace(b"finance-app", b"hr"))))[0] == 403
            assert (await on.ask(call(headers=with_key)))[0] == 200
            assert secret.encode() not in on.model.calls[0].head
            ended = await on.exchanges(3)
            assert ended[2].request is not None
            assert ended[2].request.identity_source is IdentitySource.KEY
            assert ended[2].request.key_id == "finance"

    play(main)


def test_the_gateway_vouches_with_the_right_secret_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with stage(tmp_path, gateway_secret="s3cret") as on:
            vouched = CALLER + b"x-llm-gateway-key-id: k1\r\nx-forwarded-for: 6.6.6.6, 9.9.9.9\r\n"
            await on.ask(call(headers=vouched + b"x-llm-gateway-secret: s3cret\r\n"))
            await on.ask(call(headers=vouched + b"x-llm-gateway-secret: wrong\r\n"))
            good, bad = [one.request for one in await on.exchanges(2)]
            assert good is not None
            assert bad is not None
            assert (good.identity_source, good.key_id) == (IdentitySource.GATEWAY, "k1")
            assert good.client_address == "9.9.9.9"
            assert (bad.identity_source, bad.key_id) == (IdentitySource.CLAIMED, None)
            assert bad.client_address == "127.0.0.1"
            assert all(b"gateway" not in one.head + b"" for one in on.model.calls)

    play(main)
