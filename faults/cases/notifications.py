"""Notifications of new objects that come twice, in any order, or never; poison among them; the table away.

The objects are the shipper's, in S3; the function is the one that is deployed, in a process of its own, fed as a queue
feeds it: batches of up to ten in any order, what failed comes again, and after three times it is a dead letter.
S3 and DynamoDB are ministack's.
"""

from __future__ import annotations

import json
import random
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from faults.clock import FastClock, compiler
from faults.commands import llm_audit
from faults.index import differences
from faults.load import Load
from faults.local_aws import BUCKET, TABLE, Function, LocalAws, local_aws
from faults.objects import compare, read_objects, row
from faults.poison import DOCUMENTS
from faults.reconciling import kinds_found, reconciled
from faults.row import Row, Stage, sentences
from faults.system import System, free_port, model_server

MOST_RECEIVES = 3
BATCH = 10


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of, to whom."""

    stage: Stage
    aws: LocalAws
    system: System
    records: dict[str, bytes]
    """All objects that are records, by key."""

    @property
    def log(self) -> Path:
        """Where the function writes."""
        return self.stage.folder / "function.log"

    def deliver(self, keys: list[str]) -> list[str]:
        """Deliver a notification for each, as a queue does; give what became dead letters."""
        with Function(self.aws.environ, self.log) as function:
            return _deliver(function, keys, self.stage.rng)


def run(stage: Stage) -> Iterator[Row]:
    """Store calls once, then tell of them in each way, into an empty table; the short scale takes one way."""
    with local_aws(_made(stage.folder)) as aws, _recorded(stage, aws) as (system, load):
        records = aws.objects()
        for key, data in records.items():
            _made((stage.folder / "objects" / key).parent).joinpath(Path(key).name).write_bytes(data)
        objects = read_objects(stage.folder / "objects")
        stored = row("", load.ledger, objects, compare(load.ledger, objects))
        for name in list(WAYS) if stage.choose(0, 1) else [stage.rng.choice(list(WAYS))]:
            told = Told(stage, aws, system, records)
            missed, note = WAYS[name](told)
            missed += sentences(differences(records, aws.items()).items())
            missed += reconciled(system, len(records))
            aws.empty_table()
            yield replace(stored, fault=name, findings=(*stored.findings, *missed), note=note)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _recorded(stage: Stage, aws: LocalAws) -> Iterator[tuple[System, Load]]:
    """Let a system store what its clients do, and stop it."""
    settings = {"AUDIT_BUCKET": f"s3://{BUCKET}", "AUDIT_INDEX": f"dynamodb://{TABLE}"}
    with (
        model_server() as upstream,
        System(stage.folder, settings=settings, environ=aws.environ, upstream=upstream) as system,
    ):
        system.wait_until_ready()
        with Load(system.port, stage.rng, 8) as load:
            load.wait_for_answers(stage.choose(30, 1000))
        system.stop()
        yield system, load


def _unreliable(told: Told) -> tuple[list[str], str]:
    """Leave some out, tell of others up to three times; ``reconcile`` must name those, ``reindex`` mend it."""
    rng = told.stage.rng
    keys = sorted(told.records)
    never = set(rng.sample(keys, max(1, len(keys) // 10)))
    often = [key for key in keys if key not in never for _ in range(rng.choice((1, 1, 2, 3)))]
    dead = told.deliver(often)
    missed = [f"{len(dead)} good documents became dead letters"] if dead else []
    found = kinds_found(told.system)
    if found != {"item-missing": len(never)}:
        missed.append(f"reconcile finds {dict(found)} where {len(never)} items are missing")
    missed += _reindexed(told.system)
    note = f"{len(often)} notifications of {len(keys) - len(never)} objects, {len(never)} objects never told of; reindex"
    return missed, note


def _poison(told: Told) -> tuple[list[str], str]:
    """Lay documents that are none among the objects and tell of all: the others must not wait for them."""
    s3 = told.aws.client("s3")
    good = sorted(told.records)
    bad = [f"{good[0].rpartition('/')[0]}/poison-{name}.json" for name in DOCUMENTS]
    for key, data in zip(bad, DOCUMENTS.values(), strict=True):
        s3.put_object(Bucket=BUCKET, Key=key, Body=data)
    dead = told.deliver(good + bad)
    missed = [f"{key} became a dead letter" for key in dead if key not in bad]
    missed += sentences(differences(told.records, told.aws.items()).items())
    missed += _reindexed(told.system)
    for key in bad:
        s3.delete_object(Bucket=BUCKET, Key=key)
    return (
        missed,
        f"{len(bad)} such documents: {len(bad) - len(dead)} skipped, {len(dead)} dead letters; reindex",
    )


def _table_away(told: Told) -> tuple[list[str], str]:
    """Tell while nobody answers for DynamoDB: no message may count as done; told again, all are there."""
    keys = sorted(told.records)
    environ = told.aws.environ | {"AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{free_port()}"}
    if compiler() is not None:  # its five attempts wait some 15 s
        environ |= FastClock.make(told.stage.folder).environ
    # So little time is left that the objects after the first are given back at once.
    with Function(environ, told.log, remaining_ms=1000) as without_table:
        batch = {str(number): _notification(key) for number, key in enumerate(keys[:BATCH])}
        failed = without_table.failed(batch)
    missed = []
    if failed != set(batch):
        missed.append(f"{len(batch) - len(failed)} of {len(batch)} messages counted as done without a table")
    if dead := told.deliver(keys):
        missed.append(f"{len(dead)} documents became dead letters with the table there")
    return missed, f"{len(failed)} messages came again; no command needed"


WAYS: dict[str, Callable[[Told], tuple[list[str], str]]] = {
    "notifications twice, in any order, some never": _unreliable,
    "a poison document among good ones": _poison,
    "the table away while told": _table_away,
}


def _reindexed(system: System) -> list[str]:
    done = llm_audit(system, "reindex", "--from-start")
    if done.code != 0 and "could not be read" not in done.error:
        return [f"reindex ended with {done.code}: {done.error[-300:]}"]
    return []


def _deliver(function: Function, keys: list[str], rng: random.Random) -> list[str]:
    """Deliver a notification for each, as a queue does; give what became dead letters."""
    waiting = [(key, 1) for key in keys]
    dead = []
    while waiting:
        rng.shuffle(waiting)
        batch, waiting = waiting[:BATCH], waiting[BATCH:]
        failed = function.failed({str(number): _notification(key) for number, (key, _) in enumerate(batch)})
        for number, (key, receives) in enumerate(batch):
            if str(number) not in failed:
                continue
            if receives < MOST_RECEIVES:
                waiting.append((key, receives + 1))
            else:
                dead.append(key)
    return dead


def _notification(key: str) -> str:
    return json.dumps(
        {
            "Records": [
                {
                    "eventSource": "aws:s3",
                    "eventName": "ObjectCreated:Put",
                    "s3": {"bucket": {"name": BUCKET}, "object": {"key": urllib.parse.quote_plus(key)}},
                }
            ]
        }
    )
