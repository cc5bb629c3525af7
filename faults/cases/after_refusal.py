"""A connection after each kind of refusal: it serves the next call, or it is ended and serves nothing."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Iterator
from dataclasses import replace

from faults.clients import BODIES, Call, Ledger, new_id, read_response, request
from faults.objects import Objects, compare, differences, read_objects, row
from faults.parts import good_row, part_row
from faults.refused import LIMIT, REFUSED, Refused, refused_bytes
from faults.row import Row, Stage
from faults.scripted import ScriptedServer
from faults.scripts import GOOD_BODIES
from faults.system import System
from llm_audit.proxy.keys import Key, KeySet, digest_of, new_key, write_keys
from llm_audit.proxy.usage_plan import Limits

CREATED = "2026-01-01T00:00:00Z"
_KEYS = {
    b"KEY": Key("key", None, None, Limits(), enabled=True, created=CREATED),
    b"DISABLED": Key("disabled", None, None, Limits(), enabled=False, created=CREATED),
    b"OTHER": Key("other", None, frozenset({"another"}), Limits(), enabled=True, created=CREATED),
    b"SLOW": Key("slow", None, None, Limits(rate=0.001, burst=1), enabled=True, created=CREATED),
    b"USED": Key("used", None, None, Limits(daily_quota=1), enabled=True, created=CREATED),
}

DEATHS = 5
"""Of the model server, while one connection stays."""


def run(stage: Stage) -> Iterator[Row]:
    """Have each kind refused, and call again on the same connection."""
    file = stage.folder / "keys"
    settings = {"AUDIT_API_KEYS": str(file), "AUDIT_MAX_BODY_BYTES": str(LIMIT)}
    keys = {name: new_key() for name in _KEYS}
    kept = [replace(one, sha256=digest_of(keys[name])) for name, one in _KEYS.items()]
    write_keys(file, KeySet(tuple(kept)))
    refused: list[tuple[Refused, Call, bool]] = []
    after, using_up = Ledger(), Ledger()
    with ScriptedServer() as server, System(stage.folder, settings=settings, upstream=server.port) as system:
        system.wait_until_ready()
        asyncio.run(_use_up(system.port, using_up, keys, stage))
        for _ in range(stage.choose(1, 20)):
            refused += [
                asyncio.run(_refuse_and_go_on(system.port, one, keys, after, stage)) for one in REFUSED
            ]
        system.stop()
        objects = read_objects(system.objects)
    yield from _rows(refused, objects)
    yield good_row("the next call on a connection that goes on", after, objects)
    every = Ledger([*(call for _, call, _ in refused), *after.calls, *using_up.calls])
    yield row("connections after refusals, all together", every, objects, compare(every, objects))
    if stage.choose(0, 1):
        yield _on_one_connection(stage)


def _on_one_connection(stage: Stage) -> Row:
    """Call on one connection from before the model server is there, through its deaths, to its last return."""
    ledger = Ledger()
    with System(stage.folder / "starting") as system:
        asyncio.run(_through_deaths(system, ledger, stage))
        system.stop()
        objects = read_objects(system.objects)
    codes = collections.Counter(call.code or str(call.status) for call in ledger.calls)
    note = "one connection; " + ", ".join(f"{code} {count}" for code, count in codes.most_common())
    fault = "503 and 502 while the model server starts, dies and returns"
    done = row(fault, ledger, objects, compare(ledger, objects), note)
    wrong = codes.keys() - {"200", "upstream_starting", "upstream_unreachable", "upstream_closed"}
    return replace(done, findings=(*done.findings, *(f"answered {code}" for code in sorted(wrong))))


async def _through_deaths(system: System, ledger: Ledger, stage: Stage) -> None:
    reader, writer = await _opened_once_it_listens(system.port)
    async with asyncio.timeout(300):
        for death in range(DEATHS + 1):
            if death:
                system.kill("model")
            # The proxy hears of a death from its next call; until then the one before may still be answered.
            served = 0
            while served < 3:
                call = Call(new_id(stage.rng), BODIES["plain"])
                ledger.calls.append(call)
                writer.write(request(call))
                await read_response(reader, call)
                served = served + 1 if call.status == 200 else 0
                await asyncio.sleep(0.05)
    writer.transport.abort()


async def _opened_once_it_listens(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)


async def _use_up(port: int, ledger: Ledger, keys: dict[bytes, str], stage: Stage) -> None:
    """Make the one call that a rate and a quota allow."""
    for name in (b"SLOW", b"USED"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await _good_call(reader, writer, ledger, keys[name].encode(), stage)
        writer.transport.abort()


async def _good_call(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ledger: Ledger, key: bytes, stage: Stage
) -> None:
    call = Call(new_id(stage.rng), stage.rng.choice(GOOD_BODIES))
    ledger.calls.append(call)
    writer.write(request(call, fields=b"x-api-key: %b\r\n" % key))
    await read_response(reader, call)


async def _refuse_and_go_on(
    port: int, one: Refused, keys: dict[bytes, str], after: Ledger, stage: Stage
) -> tuple[Refused, Call, bool]:
    """Have one request refused; whether the connection was ended then, as far as it had to be."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    call = Call(new_id(stage.rng), one.body)
    writer.write(refused_bytes(one, {**keys, b"ID": call.request_id}))
    async with asyncio.timeout(30):
        await read_response(reader, call)
        call.request_id = call.head.lower().partition(b"x-request-id: ")[2].partition(b"\r\n")[0].decode()
        if one.goes_on:
            await _good_call(reader, writer, after, keys[b"KEY"].encode(), stage)
            ended = False
        else:
            ended = await reader.read() == b""
    writer.transport.abort()
    return one, call, ended


def _rows(refused: list[tuple[Refused, Call, bool]], objects: Objects) -> Iterator[Row]:
    for goes_on, fault in (
        (True, "refused, and the connection goes on"),
        (False, "refused, and the connection ends"),
    ):
        found: collections.Counter[str] = collections.Counter()
        calls = [(one, call, ended) for one, call, ended in refused if one.goes_on is goes_on]
        for one, call, ended in calls:
            if (call.status, call.code) != (one.status, one.code):
                found[f"{one.name}: {call.status} {call.code}; expected: {one.status} {one.code}"] += 1
            found[f"{one.name}: the connection was not ended"] += not goes_on and not ended
            found[f"{one.name}: does not say that it closes"] += goes_on is (
                b"connection: close" in call.head
            )
            for record in objects.records.get(call.request_id, [])[:1]:
                found.update(differences(call, record))
                found[f"{one.name} is recorded as {record['outcome']}"] += record["outcome"] != "rejected"
        kinds = {one.name: f"{one.status}" for one, _, _ in calls}
        statuses = ", ".join(
            f"{status} ({count})" for status, count in sorted(collections.Counter(kinds.values()).items())
        )
        note = f"{len(kinds)} kinds: {statuses}"
        yield part_row(fault, Ledger([call for _, call, _ in calls]), objects, found, note)
