"""Connections to a model server that does not keep to HTTP: none spoils a call that comes after."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from llm_audit.record.schema import Outcome
from proxy_stage import CALLER, Stage, UpstreamCall, answer, call, ok, play, response_body, stage

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = CALLER + b"connection: close\r\n"


async def call_before_the_loop_reads(on: Stage, meanwhile: bytes | None) -> bytes:
    """Make a call, then a second one in the same turn of the loop in which the rested connection got more.

    ``meanwhile`` is what the model server sends unasked; None: it ends the connection.
    """
    await on.ask(call(b"first"))
    client = await on.client()
    while len(on.service.connections) < 2:
        await asyncio.sleep(0)
    (connection,) = [one for one in on.service.connections if one.started_mono_ns == 0]
    rested = on.model.calls[0].writer.get_extra_info("socket").fileno()
    if meanwhile is None:
        with socket.socket(fileno=os.dup(rested)) as theirs:
            theirs.shutdown(socket.SHUT_WR)
    else:
        os.write(rested, meanwhile)  # over loopback it is in the peer's buffer when this returns
    connection.data_received(call(b"second", headers=LAST))
    return await client.rest()


def test_a_surplus_that_waits_unread_is_never_the_next_callers_answer(tmp_path):
    async def main() -> None:
        async with stage(tmp_path, answer(ok(b"1")), answer(ok(b"2"))) as on:
            wire = await call_before_the_loop_reads(on, ok(b"evil"))
            assert wire.startswith(b"HTTP/1.1 200 ")
            assert wire.endswith(b"\r\n\r\n2")
            assert on.model.connections == 2
            assert [response_body(one) for one in await on.exchanges(2)] == [b"1", b"2"]

    play(main)


def test_a_surplus_that_is_no_http_costs_the_next_caller_nothing(tmp_path):
    async def main() -> None:
        async with stage(tmp_path, answer(ok(b"1")), answer(ok(b"2"))) as on:
            assert (await call_before_the_loop_reads(on, b"}\n")).endswith(b"\r\n\r\n2")
            assert [one.end.outcome for one in await on.exchanges(2)] == [Outcome.COMPLETE] * 2

    play(main)


def test_a_connection_that_ended_unread_costs_the_next_caller_nothing(tmp_path):
    async def main() -> None:
        async with stage(tmp_path, answer(ok(b"1")), answer(ok(b"2"))) as on:
            assert (await call_before_the_loop_reads(on, None)).endswith(b"\r\n\r\n2")
            assert [one.end.outcome for one in await on.exchanges(2)] == [Outcome.COMPLETE] * 2

    play(main)


INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"


@pytest.mark.parametrize("length", [1, 400])
def test_a_few_interim_responses_are_skipped(tmp_path, length):
    async def main() -> None:
        async with stage(tmp_path, answer(INTERIM * length + ok(b"1"))) as on:
            assert (await on.ask(call()))[0::2] == (200, b"1")

    play(main)


async def without_end(upstream: UpstreamCall, start: bytes, more: bytes) -> None:
    """Send the same again and again, until the proxy ends the connection."""
    await upstream.read_body()
    await upstream.send(start)
    while True:
        await upstream.send(more * 100)


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"", INTERIM),
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nx: ", b"y" * 50),
        (b"HTTP/1.1 200 ", b"y" * 50),
    ],
)
def test_a_head_without_end_is_answered_502(tmp_path, start, more):
    async def main() -> None:
        async with stage(tmp_path, lambda upstream: without_end(upstream, start, more)) as on:
            assert (await on.ask(call()))[0] == 502
            ended = await on.only_exchange()
            assert ended.end.outcome is Outcome.UPSTREAM_ERROR
            assert ended.end.error.type == "upstream_malformed"

    play(main)


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"3\r\nabc\r\n0\r\n", b"x: y\r\n"),
        (b"3\r\nabc\r\n0\r\nx: ", b"y" * 50),
        (b"3\r\nabc\r\n3;", b"y" * 50),
    ],
)
def test_trailers_and_chunk_extensions_without_end_cut_the_response(tmp_path, start, more):
    async def main() -> None:
        async with stage(tmp_path, lambda upstream: without_end(upstream, CHUNKED + start, more)) as on:
            client = await on.client()
            await client.send(call())
            assert (await client.rest()).endswith(b"\r\n\r\n3\r\nabc\r\n")
            ended = await on.only_exchange()
            assert (ended.end.outcome, ended.end.status_code) == (Outcome.UPSTREAM_ERROR, 200)
            assert ended.end.error.type == "upstream_malformed"
            assert response_body(ended) == b"abc"

    play(main)


def test_framing_between_pieces_of_a_body_may_be_long_in_sum(tmp_path):
    async def main() -> None:
        piece = b"1;" + b"x" * 1000 + b"\r\na\r\n"
        async with stage(tmp_path, answer(CHUNKED, *[piece] * 200, b"0\r\n\r\n")) as on:
            assert (await on.ask(call()))[2] == b"a" * 200

    play(main)
