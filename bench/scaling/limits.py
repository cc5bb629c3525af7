"""Limits of AWS's services that a call can meet: defaults of an ordinary account, each with its source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of a service."""

    name: str
    value: float
    unit: str
    source: str


PARTITION_WRITES = Limit(
    "partition_writes", 1_000, "write units/s on one partition", 'DynamoDB guide, "Key range throughput exceeded": fixed'
)  # fmt: skip
TABLE_WRITES = Limit(
    "table_writes", 40_000, "write units/s on one table", 'DynamoDB guide, "Quotas": may be raised'
)  # fmt: skip
FIRST_WRITES = Limit(
    "first_writes", 4_000, "write units/s on a new on-demand table", "DynamoDB guide, on-demand mode (from memory): grows with use, or at once by warm throughput"
)  # fmt: skip
PREFIX_PUTS = Limit(
    "prefix_puts", 3_500, "PUT/s on one partitioned prefix", 'S3 guide, "Best practices: optimizing performance": S3 splits prefixes in 30 to 60 minutes, answering 503 meanwhile'
)  # fmt: skip
PREFIX_GETS = Limit("prefix_gets", 5_500, "GET/s on one partitioned prefix", "the same")
CONCURRENCY = Limit(
    "concurrency", 1_000, "functions at once in an account", 'Lambda guide, "Quotas": may be raised'
)  # fmt: skip
QUEUE_BATCHES = Limit(
    "queue_batches", 1_000, "batches of one queue at once", 'Lambda guide, "Scaling behavior for SQS event source mappings": provisioned mode goes beyond'
)  # fmt: skip
GATEWAY_CALLS = Limit(
    "gateway_calls", 10_000, "calls/s through API Gateway in an account", 'API Gateway guide, "Quotas": may be raised'
)  # fmt: skip
LIMITS = (
    PARTITION_WRITES, TABLE_WRITES, FIRST_WRITES, PREFIX_PUTS, PREFIX_GETS, CONCURRENCY, QUEUE_BATCHES, GATEWAY_CALLS
)  # fmt: skip
SMALLEST_FOR_GLACIER = 128 * 1024
"""Bytes below which S3's lifecycle moves no object by default, and to which Glacier's bill rounds one up
(S3 API, ``TransitionDefaultMinimumObjectSize``)."""
INDEX_ENTRY_OVERHEAD = 100
"""Bytes that DynamoDB's bill adds to each item stored, in the table and in each index."""
