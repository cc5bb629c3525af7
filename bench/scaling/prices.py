"""List prices of AWS in eu-central-1, in US dollars, each with its source. No free tier, discount or tax is in them.

Nothing here was fetched from AWS: the project's machines have no way there. ``Origin`` says what stands behind a
price; the page prints it beside each, and ``bench/scale.py --price NAME=USD`` replaces any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum


class Origin(Enum):
    """What stands behind a price."""

    PRICE_LIST = "AWS Price List of that date, as quoted in two or more public repositories"
    QUOTED = "AWS Price List of that date, as quoted in one public repository"
    TABLE = "a public table of prices for the region, not AWS's own"
    MEMORY = "from memory, unverified"


@dataclass(frozen=True, slots=True)
class Price:
    """One line of the price list."""

    name: str
    usd: float
    unit: str
    what: str
    origin: Origin
    date: str = "-"
    """Publication of the price list, or when it was read from it."""


_PER_MILLION = "million"
_GB_MONTH = "GB-month"

PRICES = (
    Price("gateway_requests", 3.70, _PER_MILLION, "API Gateway, REST: the first 333 million calls of a month", Origin.QUOTED, "2026-08-12"),
    Price("gateway_requests_2", 3.06, _PER_MILLION, "the next 667 million", Origin.MEMORY),
    Price("gateway_requests_3", 2.60, _PER_MILLION, "the next 19 billion", Origin.MEMORY),
    Price("gateway_requests_4", 1.66, _PER_MILLION, "beyond 20 billion", Origin.MEMORY),
    Price("internet_out", 0.09, "GB", "answers that leave AWS: first 10 TB of a month (larger ones are cheaper)", Origin.QUOTED, "2026-08-31"),
    Price("nlb_hours", 0.027, "hour", "Network Load Balancer of the VPC link", Origin.MEMORY),
    Price("nlb_lcu", 0.006, "NLCU-hour", "one NLCU-hour carries 1 GB of TCP", Origin.MEMORY),
    Price("s3_put", 5.40, _PER_MILLION, "S3 PUT, COPY, LIST ($0.0054 per 1,000)", Origin.PRICE_LIST, "2026-08-31"),
    Price("s3_get", 0.43, _PER_MILLION, "S3 GET ($0.00043 per 1,000)", Origin.PRICE_LIST, "2026-08-31"),
    Price("s3_storage", 0.0245, _GB_MONTH, "S3 Standard, the first 50 TB", Origin.PRICE_LIST, "2026-08-31"),
    Price("s3_storage_2", 0.0235, _GB_MONTH, "the next 450 TB", Origin.QUOTED, "2026-08-31"),
    Price("s3_storage_3", 0.0225, _GB_MONTH, "beyond 500 TB", Origin.QUOTED, "2026-08-31"),
    Price("glacier_ir_storage", 0.005, _GB_MONTH, "Glacier Instant Retrieval, at least 128 KB an object", Origin.MEMORY),
    Price("glacier_ir_transition", 20.0, _PER_MILLION, "moving an object there ($0.02 per 1,000)", Origin.QUOTED, "2026-08-07"),
    Price("lambda_requests", 0.20, _PER_MILLION, "Lambda invocations", Origin.PRICE_LIST, "2026-09-11"),
    Price("lambda_gb_second", 0.0000133334, "GB-second", "Lambda on arm64, the first 7.5 billion GB-seconds", Origin.QUOTED, "2026-09-11"),
    Price("sqs_requests", 0.40, _PER_MILLION, "SQS standard queue, up to 64 KB each", Origin.PRICE_LIST, "2026-09-11"),
    Price("dynamodb_wru", 0.7625, _PER_MILLION, "DynamoDB on-demand, write request units", Origin.PRICE_LIST, "2026-09-11"),
    Price("dynamodb_rru", 0.1525, _PER_MILLION, "DynamoDB on-demand, read request units", Origin.PRICE_LIST, "2026-09-11"),
    Price("dynamodb_storage", 0.306, _GB_MONTH, "DynamoDB Standard, beyond 25 GB", Origin.PRICE_LIST, "2026-09-11"),
    Price("dynamodb_pitr", 0.2448, _GB_MONTH, "point-in-time recovery, of the table without its indexes", Origin.PRICE_LIST, "2026-09-11"),
    Price("logs_ingest", 0.63, "GB", "CloudWatch Logs, standard class", Origin.PRICE_LIST, "2026-09-11"),
    Price("logs_storage", 0.0324, _GB_MONTH, "CloudWatch Logs, kept", Origin.PRICE_LIST, "2026-09-11"),
    Price("metric_month", 0.30, "metric-month", "CloudWatch, custom and detailed metrics", Origin.QUOTED, "2026-08-06"),
    Price("alarm_month", 0.10, "alarm-month", "CloudWatch alarm", Origin.PRICE_LIST, "2026-09-11"),
    Price("dashboard_month", 3.00, "month", "CloudWatch dashboard", Origin.TABLE, "2025-01-01"),
    Price("kms_requests", 3.00, _PER_MILLION, "KMS ($0.03 per 10,000)", Origin.MEMORY),
    Price("kms_key_month", 1.00, "month", "KMS key", Origin.MEMORY),
    Price("secret_month", 0.40, "month", "Secrets Manager, one secret", Origin.MEMORY),
    Price("athena_scan", 5.00, "TB", "Athena, bytes read", Origin.MEMORY),
    Price("ebs_gp3", 0.0952, _GB_MONTH, "disk of the journal (gp3)", Origin.TABLE),
    Price("nat_gb", 0.052, "GB", "NAT gateway, per GB, where S3 has no gateway endpoint (that is free)", Origin.QUOTED, "2026-08"),
    Price("vcpu_hour", 0.0485, "vCPU-hour", "a quarter of a c6i.xlarge", Origin.TABLE),
    Price("gpu_host_hour", 1.258, "hour", "g5.xlarge, the template's host", Origin.TABLE),
)  # fmt: skip


class UnknownPriceError(ValueError):
    """No price has that name."""


class PriceList:
    """Prices by name, some of them replaced by a reader."""

    def __init__(self, changed: Mapping[str, float] | None = None, prices: Iterable[Price] = PRICES) -> None:
        self.lines = tuple(prices)
        self.changed = dict(changed or {})
        self._usd = {price.name: price.usd for price in self.lines}
        if unknown := self.changed.keys() - self._usd.keys():
            raise UnknownPriceError(
                f"there is no price {', '.join(sorted(unknown))}; expected one of {', '.join(sorted(self._usd))}"
            )
        self._usd |= self.changed

    def __getitem__(self, name: str) -> float:
        """US dollars for one unit of that line."""
        return self._usd[name]

    def tiered(self, quantity: float, tiers: tuple[tuple[float, str], ...]) -> float:
        """Give the sum where the price falls with the quantity: ``tiers`` are widths and the names of their prices."""
        usd, left = 0.0, quantity
        for width, name in tiers:
            taken = min(left, width)
            usd, left = usd + taken * self[name], left - taken
        return usd
