"""Bodies of 100 MB in both directions, and a stream of a million chunks, between good calls."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from faults.clients import Call, Ledger, new_id, parse_response, request
from faults.load import Load
from faults.objects import Objects, compare, differences, read_objects, row
from faults.parts import good_row
from faults.row import Row, Stage
from faults.scripted import ScriptedServer
from faults.scripts import BYTES, CHUNKS, GOOD_BODIES
from faults.system import System, memory_note

MB = 10**6
AT_ONCE = 2
"""Large calls of each kind under way at the same time."""


def run(stage: Stage) -> Iterator[Row]:
    """Make large calls, two at a time; say how much memory the processes took for them at most."""
    size, chunks = stage.choose(2, 100) * MB, stage.choose(5_000, 1_000_000)
    settings = {"AUDIT_MAX_BODY_BYTES": "128MiB"}
    with ScriptedServer() as server:
        for fault, sent, script in (
            (f"{size // MB} MB up and {size // MB} MB down", size, f"{BYTES}{size}"),
            (f"a stream of {chunks:,} chunks", 0, f"{CHUNKS}{chunks}"),
        ):
            folder = stage.folder / script.split()[0]
            with System(folder, settings=settings, upstream=server.port) as system:
                system.wait_until_ready()
                yield from _large(stage, system, fault, _body(sent, script))


def _body(size: int, script: str) -> bytes:
    return b'{"model":"m","script":"%b","messages":[{"role":"user","content":"%b"}]}' % (
        script.encode(),
        b"0123456789" * (size // 10),
    )


def _large(stage: Stage, system: System, fault: str, body: bytes) -> Iterator[Row]:
    calls = Ledger([Call(new_id(stage.rng), body) for _ in range(AT_ONCE)])
    rested = system.memory()
    began = time.monotonic()
    with Load(system.port, stage.rng, 2, bodies=GOOD_BODIES, pause_s=0.05) as good:
        under_way = [threading.Thread(target=_call, args=(system.port, call)) for call in calls.calls]
        for one in under_way:
            one.start()
        for one in under_way:
            one.join()
        took = time.monotonic() - began
    system.wait_for(system.is_shipped, "the large calls are not shipped", 300.0)
    most = system.memory(at_most=True)
    shipped = time.monotonic() - began
    system.stop()
    objects = read_objects(system.objects)
    every = Ledger([*calls.calls, *good.ledger.calls])
    note = f"{AT_ONCE} at a time, answered after {took:.1f} s, stored after {shipped:.1f} s; {memory_note(rested, most)}"
    yield _row_of_large(fault, calls, objects, f"{note}{_frames(calls, objects)}")
    beside = good_row(f"good calls beside: {fault}", good.ledger, objects)
    every_row = row("", every, objects, compare(every, objects))
    yield replace(beside, findings=(*beside.findings, *every_row.findings))


def _row_of_large(fault: str, calls: Ledger, objects: Objects, note: str) -> Row:
    findings = [
        f"a large call was not answered whole: {call.status}" for call in calls.calls if not call.ended
    ]
    for call in calls.calls:
        for record in objects.records.get(call.request_id, []):
            findings += differences(call, record)
    some = Objects({call.request_id: objects.records.get(call.request_id, []) for call in calls.calls})
    records = sum(map(len, some.records.values()))
    if records != len(calls.calls):
        findings.append(f"{records} records of {len(calls.calls)} large calls")
    return Row(fault, len(calls.calls), calls.acknowledged, records, max(0, records - len(calls.calls)), 0, tuple(findings), note)  # fmt: skip


def _frames(calls: Ledger, objects: Objects) -> str:
    """Say in how many reads the streams came, where they are streams."""
    counts = [objects.records[call.request_id][0]["chunkCount"] for call in calls.calls if call.request_id in objects.records]  # fmt: skip
    return f"; recorded as {', '.join(f'{count:,}' for count in counts)} reads" if counts else ""


def _call(port: int, call: Call) -> None:
    """Make one call with blocking sockets: sending and reading at once, since neither side waits for the other."""
    with socket.create_connection(("127.0.0.1", port), timeout=300) as sock:
        sending = threading.Thread(
            target=sock.sendall, args=(request(call, fields=b"connection: close\r\n"),)
        )
        sending.start()
        wire = bytearray()
        while piece := sock.recv(1 << 18):
            wire += piece
        sending.join()
    parse_response(call, bytes(wire))
