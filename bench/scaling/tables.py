"""The figures as Markdown: one block for each place in ``docs/scale.md``. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from bench.scaling import limits
from bench.scaling.inputs import Inputs
from bench.scaling.model import (
    MILLION,
    Line,
    Setup,
    archive_after_90_days,
    calls_bill,
    functions_at_once,
    keeping_bill,
    month,
    node,
    standing_bill,
    total,
    write_units,
    writes_per_call,
)
from bench.scaling.prices import PriceList
from bench.scaling.reach import athena_objects, per_partition, reaches
from bench.scaling.sizes import PREVIEWS, CallSize

READ_BUDGET = 10_000
"""Items that a page or a count reads at most (decision 10)."""
RATES = (10, 1_000, 100_000)
DIRECT, QUEUED = Setup(), Setup(queued=True)
USUAL = ("typical", "long", "stream")
"""The calls that most tables have a column for."""


@dataclass(frozen=True, slots=True)
class World:
    """All that the tables are made of."""

    made: dict[str, CallSize]
    captured: tuple[CallSize, ...]
    prices: PriceList
    inputs: Inputs


def blocks(world: World) -> dict[str, str]:
    """Give the text of every block by its name."""
    return {name: write(world) for name, write in _BLOCKS.items()}


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[int] = (0,)) -> str:
    """Give a table; the columns in ``words`` hold words, the others figures."""
    rule = ["---" if column in words else "--:" for column in range(len(heads))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, rule, *rows))


def _usd(value: float) -> str:
    """Give dollars as a bill has them: cents up to a thousand, whole ones beyond."""
    return f"${value:,.2f}" if abs(value) < 1000 else f"${value:,.0f}"


def _bytes(value: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if value >= size:
            return f"{value / size:,.1f} {unit}"
    return f"{value:,.0f} B"


def _hours(value: float) -> str:
    if value >= 48:
        return f"{value / 24:,.0f} days"
    return f"{value:,.1f} h" if value >= 1 else f"{value * 60:,.0f} min"


def _sizes(world: World) -> str:
    rows = [
        [
            f"`{call.name}`", call.what, f"{call.request:,}", f"{call.response:,}", f"{call.journal:,}", f"{call.object:,}",
            f"{call.item[2048]:,}", f"{write_units(call.item[2048])}", f"{writes_per_call(call.item[2048])}",
        ]
        for call in (*world.made.values(), *world.captured)
    ]  # fmt: skip
    heads = (
        "call",
        "what",
        "asked",
        "answered",
        "journal",
        "object",
        "item",
        "write units",
        "with three indexes",
    )
    return _table(heads, rows, words=(0, 1))


def _previews(world: World) -> str:
    rows = []
    for characters in PREVIEWS:
        row = [f"{characters:,}"]
        for name in ("typical", "long"):
            call = world.made[name]
            writes = writes_per_call(call.item[characters])
            row += [
                f"{call.item[characters]:,}", str(writes), _usd(writes * world.prices["dynamodb_wru"]),
                f"{per_partition(call, characters):,.0f}",
            ]  # fmt: skip
        rows.append(row)
    heads = ["`MaxPreviewChars`"]
    for name in ("typical", "long"):
        heads += [f"{name}: item", "write units, all four", "a million", "calls/s of one source"]
    return _table(heads, rows)


def _reach(world: World) -> str:
    sections = []
    for name in ("typical", "long"):
        rows = [
            [
                one.what,
                f"{one.calls_s:,.1f}" if one.calls_s < 10 else f"{one.calls_s:,.0f}",
                one.because,
                one.moved_by,
            ]
            for one in reaches(world.made[name], DIRECT, world.inputs)
        ]
        table = _table(("limit", "calls/s", "because", "what moves it"), rows, words=(0, 2, 3))
        sections.append(
            f"For `{name}` calls, the template's settings, S3 telling the function directly:\n\n{table}"
        )
    return "\n\n".join(sections)


def _columns(world: World, setup: Setup, bill: Callable[..., list[Line]]) -> dict[str, list[Line]]:
    return {name: bill(world.made[name], setup, world.prices, world.inputs) for name in USUAL}


def _bill(columns: dict[str, list[Line]]) -> str:
    first = next(iter(columns.values()))
    rows = [
        [line.service, _without_units(line.what)]
        + [f"{lines[at].quantity} · {_usd(lines[at].usd)}" for lines in columns.values()]
        for at, line in enumerate(first)
    ]
    rows.append(["**all**", ""] + [f"**{_usd(total(lines))}**" for lines in columns.values()])
    return _table(["service", "line", *(f"`{name}`" for name in columns)], rows, words=(0, 1))


def _without_units(what: str) -> str:
    """Leave out how many units a call takes: the columns differ in it."""
    return what.partition(" (")[0]


def _million(world: World) -> str:
    return _bill(_columns(world, DIRECT, calls_bill))


def _keep(world: World) -> str:
    return _bill(_columns(world, DIRECT, keeping_bill))


def _levers(world: World) -> str:
    setups = (
        ("as the template has it", DIRECT),
        ("`IngestMode=sqs`, batches of 10", QUEUED),
        ("no raw archive (`ArchiveBucketName` empty)", replace(DIRECT, archive=False)),
        ("`MaxPreviewChars=256`", replace(DIRECT, previews=256)),
        ("`MaxPreviewChars=0`", replace(DIRECT, previews=0)),
        ("without the latency index", replace(DIRECT, indexes=2)),
        ("S3 through a NAT gateway, where its endpoint is missing", replace(DIRECT, nat=True)),
        (
            "queue, no archive, no previews, no latency index",
            Setup(queued=True, archive=False, previews=0, indexes=2),
        ),
    )
    rows = []
    for what, setup in setups:
        row = [what]
        for name in ("typical", "long"):
            call = world.made[name]
            made = total(calls_bill(call, setup, world.prices, world.inputs))
            kept = total(keeping_bill(call, setup, world.prices, world.inputs))
            row += [_usd(made), _usd(kept), _usd(made + kept)]
        rows.append(row)
    heads = ["a million calls"]
    for name in ("typical", "long"):
        heads += [f"`{name}`: made", "kept 180 days", "together"]
    return _table(heads, rows)


def _standing(world: World) -> str:
    lines = standing_bill(world.prices)
    rows = [[line.service, line.what, line.quantity, _usd(line.usd)] for line in lines]
    rows.append(["**all**", "", "", f"**{_usd(total(lines))}**"])
    return _table(("service", "line", "quantity", "a month"), rows, words=(0, 1))


def _month(world: World) -> str:
    months = [month(rate, world.made["typical"], DIRECT, world.prices, world.inputs) for rate in RATES]
    names = (
        ("calls", "millions of calls"),
        ("gateway", "gateway, balancer, answers out of AWS"),
        ("objects", "S3 requests (PUT, GET, archive's COPY), KMS"),
        ("ingestion", "Lambda"),
        ("index_writes", "DynamoDB, writes"),
        ("logs", "logs written"),
        ("kept_objects", "objects kept, 180 days of them"),
        ("kept_items", "items kept, with point-in-time recovery"),
        ("kept_logs", "logs kept"),
        ("nodes", "processors of proxy and shipper"),
    )
    rows = [
        [label] + [f"{one.calls:,.0f}" if name == "calls" else _usd(getattr(one, name)) for one in months]
        for name, label in names
    ]
    rows.append(["**all**"] + [f"**{_usd(one.usd)}**" for one in months])
    rows.append(["for a million calls"] + [_usd(one.usd / one.calls) for one in months])
    return _table(["a month at", *(f"{rate:,} calls/s" for rate in RATES)], rows)


def _nodes(world: World) -> str:
    sections = []
    for name, is_streamed in (("typical", False), ("stream", True)):
        call = world.made[name]
        found = [node(rate, call, world.prices, world.inputs, streamed=is_streamed) for rate in RATES]
        rows = [
            ["processors kept wholly busy (proxy and shipper)"] + [_few(one.cores) for one in found],
            [f"their price a month, planned {world.inputs['busy']:.0%} busy"] + [_usd(one.usd_month) for one in found],
            ["nodes (one shipper each)"] + [f"{one.nodes:,}" for one in found],
            ["`AUDIT_WORKERS`, all nodes together"] + [f"{one.workers:,}" for one in found],
            ["journal written a second, all nodes"] + [_bytes(one.journal_bytes_s) for one in found],
            ["store may be away, 10 GiB a node"] + [_hours(one.outage_hours_10) for one in found],
            ["the same with 40 GiB, the template's size"] + [_hours(one.outage_hours_40) for one in found],
            ["calls open at once"] + [f"{one.open_calls:,.0f}" for one in found],
            ["memory for them, all workers"] + [_bytes(one.memory_mb * 1e6) for one in found],
            ["network, in and out together"] + [f"{one.network_mbit_s:,.1f} Mbit/s" for one in found],
            ["PUT/s into S3"] + [f"{rate:,}" for rate in RATES],
            ["functions at once, direct"] + [f"{functions_at_once(rate, world.inputs, 1):,.0f}" for rate in RATES],
            ["functions at once, batches of 10"] + [f"{functions_at_once(rate, world.inputs, 10):,.0f}" for rate in RATES],
            ["write units/s of the table, and of each index"] + [f"{rate * write_units(call.item[2048]):,}" for rate in RATES],
            ["shards of status 200 that this needs"] + [f"{-(-rate * write_units(call.item[2048]) // 1000):,.0f}" for rate in RATES],
        ]  # fmt: skip
        sections.append(
            f"`{name}` calls:\n\n" + _table(["at", *(f"{rate:,} calls/s" for rate in RATES)], rows)
        )
    host = world.prices["gpu_host_hour"] * 730
    sections.append(
        f"For comparison: the template's host with one GPU (g5.xlarge, 4 processors) costs {_usd(host)} a month."
    )
    return "\n\n".join(sections)


def _few(value: float) -> str:
    return f"{value:,.2g}" if value < 10 else f"{value:,.0f}"


def _glacier(world: World) -> str:
    rows = []
    for name in ("typical", "long", "context"):
        call = world.made[name]
        rows.append(
            [
                f"`{name}`", _bytes(call.object),
                *(_usd(_standard(call, world, days)) for days in (180, 2555)),
                *(_usd(archive_after_90_days(call, world.prices, days)) for days in (180, 2555)),
                _usd(archive_after_90_days(call, world.prices, 180, forced=True)),
            ]
        )  # fmt: skip
    heads = (
        "a million",
        "object",
        "Standard, 180 days",
        "2,555 days",
        "with the template's rule, 180 days",
        "2,555 days",
        "small ones forced, 180 days",
    )
    return _table(heads, rows)


def _standard(call: CallSize, world: World, days: int) -> float:
    return call.object * MILLION / (1 << 30) * days / (365 / 12) * world.prices["s3_storage"]


def _athena(world: World) -> str:
    reach = athena_objects()
    typical = world.made["typical"]
    rows = []
    for rate in RATES:
        objects = rate * 86_400
        scan = objects * typical.object / 1e12 * world.prices["athena_scan"]
        gets = objects / MILLION * world.prices["s3_get"]
        minutes = objects / limits.PREFIX_GETS.value / 60
        rows.append([f"{rate:,}", f"{objects:,}", _hours(minutes / 60), _usd(scan), _usd(gets)])
    heads = ("calls/s", "objects of one day", "to open them at 5,500 GET/s", "bytes read", "GET requests")
    budget = READ_BUDGET * typical.item[2048] / 4096 / 2
    listed = f"A list that uses up its whole budget ({READ_BUDGET:,} items of the table): {budget:,.0f} read units, {world.prices['dynamodb_rru'] * budget / MILLION:.4f} dollars."
    said = f"A query opens at most some {reach / MILLION:,.0f} million objects before it times out (half an hour): a day at {reach / 86_400:,.0f} calls/s."
    return f"{_table(heads, rows)}\n\n{said} {listed}"


def _prices(world: World) -> str:
    rows = []
    for price in world.prices.lines:
        value = world.prices[price.name]
        shown = f"{value:.10f}".rstrip("0") if 0 < value < 0.001 else f"{value:g}"
        changed = price.name in world.prices.changed
        rows.append(
            [
                f"`{price.name}`",
                price.what,
                f"${shown} / {price.unit}",
                "changed by the reader" if changed else price.origin.value,
                price.date,
            ]
        )
    return _table(("name", "what", "price", "source", "date"), rows, words=range(5))


def _inputs(world: World) -> str:
    rows = [
        [
            f"`{one.name}`",
            one.what,
            f"{one.value:g} {one.unit}",
            "measured" if one.is_measured else "**assumed**",
            one.note,
        ]
        for one in world.inputs.by_name.values()
    ]
    heads = ("name", "what", "value", "", "how, or why")
    return f"Measured on {world.inputs.machine}.\n\n" + _table(heads, rows, words=range(5))


def _limits(_: World) -> str:
    rows = [[f"{one.value:,.0f}", one.unit, one.source] for one in limits.LIMITS]
    return _table(("limit", "of what", "source"), rows, words=range(3))


_BLOCKS: dict[str, Callable[[World], str]] = {
    "sizes": _sizes, "nodes": _nodes, "reach": _reach, "previews": _previews, "million": _million, "keep": _keep,
    "levers": _levers, "standing": _standing, "month": _month, "glacier": _glacier, "athena": _athena,
    "prices": _prices, "inputs": _inputs, "limits": _limits,
}  # fmt: skip
