"""Which limit stops calls at which rate, and what moves it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.scaling import limits
from bench.scaling.inputs import Inputs
from bench.scaling.model import Setup, invocation_ms, one_node_rate, write_units
from bench.scaling.sizes import CallSize

STACK_SHARDS = 64
"""Most that the template's ``StatusShards`` takes."""
FUNCTION_SHARDS = 1000
"""Most that the function's ``STATUS_SHARDS`` takes."""
ATHENA_S = 30 * 60
"""A query's time-out (Athena guide, "Service quotas"; from memory)."""
PLAN_RATE, PLAN_DAY = 50, 100_000
"""``RequestsPerSecond`` and ``RequestsPerDay`` of one key in the template."""


@dataclass(frozen=True, slots=True)
class Reach:
    """One limit, as calls a second that it lets through."""

    what: str
    calls_s: float
    because: str
    moved_by: str
    moves: bool
    """False: nothing moves it further than ``moved_by`` says."""


def reaches(call: CallSize, setup: Setup, inputs: Inputs) -> list[Reach]:
    """Give every limit, the lowest first."""
    found = (
        *_partitions(call, setup),
        *_table(call, setup),
        *_store(),
        *_functions(setup, inputs),
        *_doors(inputs),
    )
    return sorted(found, key=lambda one: one.calls_s)


def per_partition(call: CallSize, previews: int) -> float:
    """Give the calls a second whose items fit into one partition."""
    return limits.PARTITION_WRITES.value / write_units(call.item[previews])


def _partitions(call: CallSize, setup: Setup) -> Iterator[Reach]:
    units = write_units(call.item[setup.previews])
    rate, least = per_partition(call, setup.previews), per_partition(call, 0)
    why = f"1,000 write units/s, {units} an item"
    yield Reach(
        "one source (`id`)", rate, why,
        f"`MaxPreviewChars` down to 0: {least:,.0f}. Beyond that **nothing**: more sources", moves=False,
    )  # fmt: skip
    yield Reach(
        "one user (`GSI_UserTime`)", rate, why,
        f"as above: {least:,.0f}. Beyond that **nothing**: more users", moves=False,
    )  # fmt: skip
    spread = rate * setup.status_shards
    yield Reach(
        "one status (`GSI_StatusTime`); nearly all calls are 200", spread, f"{why}, {setup.status_shards} shard(s)",
        f"`StatusShards`, {rate:,.0f} more with each: 64 give {rate * STACK_SHARDS:,.0f} (the template's most), "
        f"1,000 {rate * FUNCTION_SHARDS:,.0f} (the function's)", moves=True,
    )  # fmt: skip


def _table(call: CallSize, setup: Setup) -> Iterator[Reach]:
    units = write_units(call.item[setup.previews])
    yield Reach(
        "a table in its first minutes", limits.FIRST_WRITES.value / units, f"4,000 write units/s, {units} an item",
        "use (twice the last peak), or warm throughput set before", moves=True,
    )  # fmt: skip
    yield Reach(
        "the table, and each index by itself", limits.TABLE_WRITES.value / units, f"40,000 write units/s, {units} an item",
        "a request to AWS", moves=True,
    )  # fmt: skip


def _store() -> Iterator[Reach]:
    yield Reach(
        "one bucket's day", limits.PREFIX_PUTS.value, "3,500 PUT/s on one prefix; all calls of a day begin `logs/YYYY/MM/DD/`",
        "S3 splits a busy prefix by itself, but a new day begins in one piece, and ids that the proxy makes (UUIDv7) "
        "ascend: reckon with 503 for a while, which the journal takes. For more, a stack with a bucket of its own",
        moves=True,
    )  # fmt: skip


def _functions(setup: Setup, inputs: Inputs) -> Iterator[Reach]:
    objects = setup.objects_per_invocation
    each_s = invocation_ms(inputs, objects) / 1000
    why = f"{each_s * 1000:,.0f} ms for {objects} object(s)"
    yield Reach(
        "the function as the template reserves it", setup.concurrency * objects / each_s, f"{setup.concurrency} at once, {why}",
        "`IngestConcurrency`. Events above it wait: 6 hours direct, 14 days in a queue (`IngestMode=sqs`); then they are dead letters, for `lambda redrive`", moves=True,
    )  # fmt: skip
    yield Reach(
        "an account's functions", limits.CONCURRENCY.value * objects / each_s, f"1,000 at once, {why}",
        "a request to AWS; or more `MemorySize`: most of the run is processor time, so it ends sooner at about the same price", moves=True,
    )  # fmt: skip


def _doors(inputs: Inputs) -> Iterator[Reach]:
    yield Reach("one key's quota", PLAN_DAY / 86_400, "100,000 calls a day", "`RequestsPerDay`", moves=True)
    yield Reach("one key's rate", PLAN_RATE, "the usage plan", "`RequestsPerSecond`, `Burst`", moves=True)
    yield Reach(
        "API Gateway, all APIs of an account",
        limits.GATEWAY_CALLS.value,
        "the account's throttle",
        "a request to AWS",
        moves=True,
    )
    yield Reach(
        "one node's shipper", one_node_rate(inputs),
        f"{inputs['shipper_us']:,.0f} µs a record, one process, planned {inputs['busy']:.0%} busy; "
        f"streams of 100 events: {one_node_rate(inputs, streamed=True):,.0f}",
        "another node; more workers do not move it", moves=True,
    )  # fmt: skip
    yield Reach(
        "SQLite, where it is the index", inputs["sqlite_objects_s"], "one writer: the shipper's own process pays for it",
        "DynamoDB", moves=True,
    )  # fmt: skip


def athena_objects() -> float:
    """Objects that one query can open before it times out, all of one day."""
    return limits.PREFIX_GETS.value * ATHENA_S
