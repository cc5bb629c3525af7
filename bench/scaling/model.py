"""What calls cost and where they meet a limit. Pure: sizes, prices and inputs come in, figures go out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from bench.scaling.inputs import Inputs
from bench.scaling.limits import INDEX_ENTRY_OVERHEAD, SMALLEST_FOR_GLACIER
from bench.scaling.prices import PriceList
from bench.scaling.sizes import CallSize

GB = 1 << 30
"""AWS bills storage and transfer by this many bytes."""

MILLION = 1_000_000
MONTH_DAYS = 365 / 12
MONTH_S = MONTH_DAYS * 86_400

WRITE_UNIT = 1024
"""Bytes of an item that one write unit carries (DynamoDB guide, "Read and write operations")."""

LAMBDA_FULL_MB = 1769
"""Memory at which a function has one whole processor (Lambda guide, "Configure memory")."""

GATEWAY_TIERS = (
    (333.0, "gateway_requests"), (667.0, "gateway_requests_2"), (19_000.0, "gateway_requests_3"), (math.inf, "gateway_requests_4"),
)  # fmt: skip
"""Millions of calls a month, and the price of each step."""

S3_TIERS = ((50.0 * 1024, "s3_storage"), (450.0 * 1024, "s3_storage_2"), (math.inf, "s3_storage_3"))
"""GB stored, and the price of each step."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What an operator can set; the defaults are those of ``infra/cloudformation/main.yaml``."""

    queued: bool = False
    """``IngestMode=sqs``: S3 tells a queue, the function takes ``batch`` messages at once."""
    batch: int = 10
    nat: bool = False
    """Whether records reach S3 through a NAT gateway; a gateway endpoint costs nothing."""
    archive: bool = True
    """``ArchiveBucketName``: the function copies each document into a second bucket."""
    previews: int = 2048
    """``MaxPreviewChars``."""
    indexes: int = 3
    status_shards: int = 1
    concurrency: int = 20
    """``IngestConcurrency``."""
    retention_days: int = 180
    log_days: int = 400

    @property
    def objects_per_invocation(self) -> int:
        """How many objects one invocation works through."""
        return self.batch if self.queued else 1


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a bill; ``usd`` is None where it cannot be said."""

    service: str
    what: str
    quantity: str
    usd: float


def total(lines: list[Line]) -> float:
    """Sum of a bill's lines."""
    return sum(line.usd for line in lines)


def write_units(item_bytes: int) -> int:
    """Write units that one item takes, in the table or in one index."""
    return -(-item_bytes // WRITE_UNIT)


def writes_per_call(item_bytes: int, indexes: int = 3) -> int:
    """Write units of one call: the table, and each index that holds whole items (projection ALL) once more."""
    return (1 + indexes) * write_units(item_bytes)


def invocation_ms(inputs: Inputs, objects: int) -> float:
    """Billed milliseconds of one invocation. Its objects come one after the other, so a batch takes their sum."""
    processor = inputs["lambda_memory_mb"] / LAMBDA_FULL_MB
    cpu_ms = (inputs["lambda_us_invocation"] + objects * inputs["lambda_us_object"]) / 1000
    return inputs["lambda_overhead_ms"] + cpu_ms / processor + objects * inputs["lambda_wait_ms"]


def functions_at_once(rate: float, inputs: Inputs, objects: int) -> float:
    """Functions that run at once to keep up with so many objects a second (Little's law)."""
    return rate / objects * invocation_ms(inputs, objects) / 1000


def calls_bill(call: CallSize, setup: Setup, prices: PriceList, inputs: Inputs) -> list[Line]:
    """Give what a million calls cost while they are made, line by line."""
    return [
        *_gateway_lines(call, prices),
        *_object_lines(call, setup, prices, inputs),
        *_function_lines(setup, prices, inputs),
        *_index_lines(call, setup, prices),
        _logs_line(setup, prices, inputs),
    ]


def _gateway_lines(call: CallSize, prices: PriceList) -> Iterator[Line]:
    yield Line("API Gateway", "calls, first step of the price", "1,000,000", prices["gateway_requests"])
    out, carried = call.response * MILLION / GB, call.wire * MILLION / GB
    yield Line("API Gateway", "answers out of AWS", f"{out:,.2f} GB", out * prices["internet_out"])
    yield Line("Load balancer", "NLCU-hours, by bytes", f"{carried:,.2f}", carried * prices["nlb_lcu"])


def _object_lines(call: CallSize, setup: Setup, prices: PriceList, inputs: Inputs) -> Iterator[Line]:
    yield Line("S3", "PUT of the record", "1,000,000", prices["s3_put"])
    yield Line("S3", "GET by the function", "1,000,000", prices["s3_get"])
    if setup.archive:
        yield Line("S3", "COPY into the raw archive", "1,000,000", prices["s3_put"])
    if setup.nat:
        gb = call.object * MILLION / GB
        yield Line("S3", "NAT gateway", f"{gb:,.2f} GB", gb * prices["nat_gb"])
    requests = (3 if setup.archive else 2) * inputs["kms_share"]
    yield Line(
        "KMS", "requests, with bucket keys", f"{requests * MILLION:,.0f}", requests * prices["kms_requests"]
    )


def _function_lines(setup: Setup, prices: PriceList, inputs: Inputs) -> Iterator[Line]:
    objects = setup.objects_per_invocation
    invocations = 1 / objects
    gb_seconds = (
        invocations * MILLION * invocation_ms(inputs, objects) / 1000 * inputs["lambda_memory_mb"] / 1024
    )
    if setup.queued:
        requests = 1 + 2 * invocations  # S3 sends each message; one receive and one delete for each batch
        yield Line(
            "SQS", "send, receive, delete", f"{requests * MILLION:,.0f}", requests * prices["sqs_requests"]
        )
    yield Line(
        "Lambda", "invocations", f"{invocations * MILLION:,.0f}", invocations * prices["lambda_requests"]
    )
    yield Line("Lambda", "run time", f"{gb_seconds:,.0f} GB-s", gb_seconds * prices["lambda_gb_second"])


def _index_lines(call: CallSize, setup: Setup, prices: PriceList) -> Iterator[Line]:
    units = write_units(call.item[setup.previews])
    yield Line(
        "DynamoDB",
        f"write units of the table ({units} a call)",
        f"{units * MILLION:,}",
        units * prices["dynamodb_wru"],
    )
    if setup.indexes:
        more = units * setup.indexes
        what = f"write units of {setup.indexes} indexes ({more} a call)"
        yield Line("DynamoDB", what, f"{more * MILLION:,}", more * prices["dynamodb_wru"])


def _logs_line(setup: Setup, prices: PriceList, inputs: Inputs) -> Line:
    gb = log_bytes(setup, inputs) * MILLION / GB
    return Line("CloudWatch", "logs of gateway and function", f"{gb:,.2f} GB", gb * prices["logs_ingest"])


def log_bytes(setup: Setup, inputs: Inputs) -> float:
    """Bytes that one call leaves in CloudWatch's logs."""
    return inputs["gateway_log_bytes"] + inputs["lambda_log_bytes"] / setup.objects_per_invocation


def keeping_bill(call: CallSize, setup: Setup, prices: PriceList, inputs: Inputs) -> list[Line]:
    """Give what it costs to keep a million calls for the whole retention, at the first step of each price."""
    months, days = setup.retention_days / MONTH_DAYS, setup.retention_days
    stored = call.object * MILLION / GB
    copies = 2 if setup.archive else 1
    item = (call.item[setup.previews] + INDEX_ENTRY_OVERHEAD) * MILLION / GB
    everywhere = item * (1 + setup.indexes)
    lines = (
        (copies + 1) * inputs["access_log_bytes"] * MILLION / GB
    )  # each PUT or COPY, and the function's GET
    logs, log_months = log_bytes(setup, inputs) * MILLION / GB, setup.log_days / MONTH_DAYS
    named = "S3 Standard, record and raw copy" if setup.archive else "S3 Standard, record"
    return [
        Line("S3", f"{named}, {days} days", f"{stored * copies:,.2f} GB", stored * copies * months * prices["s3_storage"]),
        Line("DynamoDB", f"table and {setup.indexes} indexes, {days} days", f"{everywhere:,.2f} GB", everywhere * months * prices["dynamodb_storage"]),
        Line("DynamoDB", f"point-in-time recovery, {days} days", f"{item:,.2f} GB", item * months * prices["dynamodb_pitr"]),
        Line("S3", f"access logs, {setup.log_days} days", f"{lines:,.2f} GB", lines * log_months * prices["s3_storage"]),
        Line("CloudWatch", f"logs, {setup.log_days} days", f"{logs:,.2f} GB", logs * log_months * prices["logs_storage"]),
    ]  # fmt: skip


def standing_bill(prices: PriceList, journal_gb: int = 50, alarms: int = 19, metrics: int = 17) -> list[Line]:
    """Give what the stack costs a month with no call at all, the model's own host apart.

    Metrics: five of the node, five of the function, seven of the gateway's one method.
    """
    hours = MONTH_DAYS * 24
    return [
        Line("Load balancer", "hours", f"{hours:,.0f}", hours * prices["nlb_hours"]),
        Line("EBS", "the journal's disk", f"{journal_gb} GB", journal_gb * prices["ebs_gp3"]),
        Line("CloudWatch", "metrics", f"{metrics}", metrics * prices["metric_month"]),
        Line("CloudWatch", "alarms", f"{alarms}", alarms * prices["alarm_month"]),
        Line("CloudWatch", "dashboard", "1", prices["dashboard_month"]),
        Line("KMS", "key", "1", prices["kms_key_month"]),
        Line("Secrets Manager", "the gateway's secret", "1", prices["secret_month"]),
    ]


@dataclass(frozen=True, slots=True)
class Month:
    """A month at a constant rate, in dollars, everything of the retention already stored."""

    calls: float
    """Millions."""
    gateway: float
    objects: float
    ingestion: float
    index_writes: float
    logs: float
    kept_objects: float
    kept_items: float
    kept_logs: float
    nodes: float

    @property
    def usd(self) -> float:
        """All of it, but what stands still."""
        return (
            self.gateway + self.objects + self.ingestion + self.index_writes + self.logs
            + self.kept_objects + self.kept_items + self.kept_logs + self.nodes
        )  # fmt: skip


def month(rate: float, call: CallSize, setup: Setup, prices: PriceList, inputs: Inputs) -> Month:
    """Give a month's bill at so many calls a second, all day; steps of prices that fall with volume are in it."""
    calls = rate * MONTH_S / MILLION
    made = calls_bill(call, setup, prices, inputs)
    kept = keeping_bill(call, setup, prices, inputs)
    # At a constant rate as much expires as comes: a month pays for keeping just what it made, as long as it is kept.
    copies = 2 if setup.archive else 1
    held_gb = rate * setup.retention_days * 86_400 * call.object * copies / GB
    by = {
        name: calls * total([line for line in made if line.service == name])
        for name in {line.service for line in made}
    }
    requests = prices.tiered(calls, GATEWAY_TIERS) - calls * prices["gateway_requests"]
    return Month(
        calls=calls,
        gateway=by["API Gateway"] + by["Load balancer"] + requests,
        objects=by["S3"] + by["KMS"],
        ingestion=by["Lambda"] + by.get("SQS", 0.0),
        index_writes=by["DynamoDB"],
        logs=by["CloudWatch"],
        kept_objects=prices.tiered(held_gb, S3_TIERS),
        kept_items=calls * total([line for line in kept if line.service == "DynamoDB"]),
        kept_logs=calls * total([line for line in kept if "logs" in line.what]),
        nodes=cores(rate, inputs) / inputs["busy"] * MONTH_DAYS * 24 * prices["vcpu_hour"],
    )


def cores(rate: float, inputs: Inputs, *, streamed: bool = False) -> float:
    """Processors that proxy and shipper keep wholly busy at so many calls a second."""
    return rate * (_proxy_us(inputs, streamed=streamed) + _shipper_us(inputs, streamed=streamed)) / MILLION


def _proxy_us(inputs: Inputs, *, streamed: bool) -> float:
    return inputs["proxy_us_stream"] if streamed else inputs["proxy_us_call"]


def _shipper_us(inputs: Inputs, *, streamed: bool) -> float:
    return inputs["shipper_us"] + (inputs["shipper_us_stream_more"] if streamed else 0)


@dataclass(frozen=True, slots=True)
class Node:
    """What the audit takes of the machines in front of the models."""

    workers: int
    """``AUDIT_WORKERS`` in all."""
    nodes: int
    """Machines: each has one shipper, and a shipper is one processor's work."""
    cores: float
    usd_month: float
    """Price of those processors, idle time planned in."""
    open_calls: float
    memory_mb: float
    journal_bytes_s: float
    outage_hours_10: float
    """Hours that a store may be away until ten GiB on each node are full."""
    outage_hours_40: float
    network_mbit_s: float
    """In and out together: caller, model, store."""


def node(rate: float, call: CallSize, prices: PriceList, inputs: Inputs, *, streamed: bool = False) -> Node:
    """Give workers, machines, disk and network for so many calls a second."""
    workers = math.ceil(rate * _proxy_us(inputs, streamed=streamed) / MILLION / inputs["busy"])
    nodes = math.ceil(rate / one_node_rate(inputs, streamed=streamed))
    journal = rate * call.journal
    busy, open_calls = cores(rate, inputs, streamed=streamed), rate * inputs["call_s"]
    return Node(
        workers=max(workers, nodes),
        nodes=nodes,
        cores=busy,
        usd_month=busy / inputs["busy"] * MONTH_DAYS * 24 * prices["vcpu_hour"],
        open_calls=open_calls,
        memory_mb=open_calls * inputs["streams_memory_mb"] / 1000,
        journal_bytes_s=journal,
        outage_hours_10=nodes * 10 * GB / journal / 3600,
        outage_hours_40=nodes * 40 * GB / journal / 3600,
        network_mbit_s=rate * (2 * call.wire + call.object) * 8 / MILLION,
    )


def one_node_rate(inputs: Inputs, *, streamed: bool = False) -> float:
    """Give the calls a second that one machine is planned for: its one shipper's, since workers can be added and it cannot."""
    return inputs["busy"] * MILLION / _shipper_us(inputs, streamed=streamed)


def archive_after_90_days(call: CallSize, prices: PriceList, days: int, *, forced: bool = False) -> float:
    """Cost of keeping a million objects so long, moved to Glacier Instant Retrieval after 90 days.

    Smaller ones than 128 KB stay in Standard unless ``forced``: then Glacier bills each as if it had 128 KB.
    """
    standard_months, glacier_months = min(days, 90) / MONTH_DAYS, max(days - 90, 0) / MONTH_DAYS
    stored = call.object * MILLION / GB
    if call.object < SMALLEST_FOR_GLACIER and not forced:
        return stored * (standard_months + glacier_months) * prices["s3_storage"]
    billed = max(call.object, SMALLEST_FOR_GLACIER) * MILLION / GB
    moved = prices["glacier_ir_transition"] + billed * glacier_months * prices["glacier_ir_storage"]
    return stored * standard_months * prices["s3_storage"] + moved
