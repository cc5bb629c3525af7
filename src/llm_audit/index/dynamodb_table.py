"""One DynamoDB table through boto3. Its errors stop here and become the index's own, with advice.

Standard library and boto3 only: this is what runs inside Lambda.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import botocore.config
import botocore.exceptions

from llm_audit.index.dynamodb_items import Row
from llm_audit.index.errors import IndexDamagedError, IndexMissingError, IndexUnavailableError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CONNECTIONS = 32
"""Kept open at once; a client opens one for each thread that asks."""

ATTEMPTS = 6
"""Tries of one request, the first included. ``adaptive`` waits between them, up to 20 s, and slows all down while
the table throttles (boto3's guide "Retries")."""

_ACTION = re.compile(r"dynamodb:\w+")


@dataclass(frozen=True, slots=True)
class _Sign:
    """How DynamoDB says something, and what we say: ``{said}``, ``{table}`` and ``{permission}`` are filled in."""

    codes: tuple[str, ...]
    words: str
    error: type[IndexUnavailableError]
    advice: str


_SIGNS = (
    _Sign(
        ("ResourceNotFoundException",),
        "",
        IndexMissingError,
        "there is no DynamoDB table {table} (or one of its indexes is missing) in this region and account; "
        "set AUDIT_INDEX and AWS_REGION, or create it: `llm-audit aws deploy` does",
    ),
    _Sign(
        ("AccessDeniedException", "AccessDenied"),
        "",
        IndexUnavailableError,
        "denied: allow {permission} on the table and on its index/* to whoever runs this ({said})",
    ),
    _Sign(
        (
            "ExpiredTokenException",
            "IncompleteSignatureException",
            "InvalidSignatureException",
            "MissingAuthenticationTokenException",
            "UnrecognizedClientException",
        ),
        "",
        IndexUnavailableError,
        "AWS does not take the credentials ({said}); renew them",
    ),
    _Sign(
        (
            "LimitExceededException",
            "ProvisionedThroughputExceededException",
            "RequestLimitExceeded",
            "ThrottlingException",
        ),
        "",
        IndexUnavailableError,
        "throttled, again and again ({said}); ask for less at once, try again later, or raise the table's capacity",
    ),
    _Sign(
        ("ValidationException",),
        "backfilling",
        IndexUnavailableError,
        "one of the table's indexes is still being built ({said}); wait until its IndexStatus is ACTIVE",
    ),
    _Sign(
        ("ValidationException",),
        "specified index",
        IndexDamagedError,
        "an index is missing ({said}); create it: `llm-audit doctor` tells which, `llm-audit aws deploy` makes all",
    ),
)


class ConditionFailedError(Exception):
    """The condition of a write did not hold, and nothing was changed."""


def client(
    region: str | None = None,
    endpoint_url: str | None = None,
    *,
    attempts: int = ATTEMPTS,
    timeout: float = 10.0,
) -> DynamoDBClient:
    """Give a client that retries adaptively; makes no request.

    What is None is found where every AWS SDK looks. Raises IndexUnavailableError where that is nowhere.
    """
    config = botocore.config.Config(
        retries={"mode": "adaptive", "total_max_attempts": attempts},
        connect_timeout=min(3.0, timeout),
        read_timeout=timeout,
        max_pool_connections=CONNECTIONS,
    )
    with own_errors("DynamoDB"):
        return boto3.Session().client(
            "dynamodb", region_name=region, endpoint_url=endpoint_url, config=config
        )


class Table:
    """A table's calls, each raising IndexUnavailableError; may be used from several threads."""

    def __init__(self, name: str, client: DynamoDBClient) -> None:
        """Nothing is asked of the table yet."""
        self.name = name
        self._client = client

    def put(self, row: Row) -> None:
        """Write a row, whatever was in its place. No condition: see ``DynamoWriter``."""
        with own_errors(self.name, "PutItem"):
            self._client.put_item(TableName=self.name, Item=row)

    def put_batch(self, rows: list[Row]) -> list[Row]:
        """Write up to 25 rows with different keys in one request; gives those that it did not come to."""
        requests: list[Any] = [{"PutRequest": {"Item": row}} for row in rows]
        with own_errors(self.name, "BatchWriteItem"):
            answer = self._client.batch_write_item(RequestItems={self.name: requests})
        left: list[Any] = answer.get("UnprocessedItems", {}).get(self.name, [])
        return [one["PutRequest"]["Item"] for one in left]

    def delete(self, key: Row, *, condition: str, values: Row) -> None:
        """Delete a row if the condition holds; raises ConditionFailedError where it does not."""
        with own_errors(self.name, "DeleteItem"):
            self._client.delete_item(
                TableName=self.name, Key=key, ConditionExpression=condition, ExpressionAttributeValues=values
            )

    def get(self, key: Row) -> Row | None:
        """Read a row, as it is now."""
        with own_errors(self.name, "GetItem"):
            answer: dict[str, Any] = dict(
                self._client.get_item(TableName=self.name, Key=key, ConsistentRead=True)
            )
        return answer.get("Item")

    def query(self, **arguments: Any) -> dict[str, Any]:
        """Read from one partition."""
        with own_errors(self.name, "Query"):
            return dict(self._client.query(TableName=self.name, **arguments))

    def scan(self, **arguments: Any) -> dict[str, Any]:
        """Read a segment of the whole table."""
        with own_errors(self.name, "Scan"):
            return dict(self._client.scan(TableName=self.name, **arguments))

    def describe(self) -> Mapping[str, Any]:
        """Tell keys, indexes and status."""
        with own_errors(self.name, "DescribeTable"):
            return self._client.describe_table(TableName=self.name)["Table"]

    def close(self) -> None:
        """Close its connections; may be called twice."""
        self._client.close()


@contextmanager
def own_errors(table: str, action: str = "request") -> Iterator[None]:
    """Turn botocore's errors into ours, with advice."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        raise _answered(table, action, error) from error
    except (botocore.exceptions.NoCredentialsError, botocore.exceptions.PartialCredentialsError) as error:
        raise IndexUnavailableError(
            f"DynamoDB table {table}: no AWS credentials were found ({error}); set AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role gives them"
        ) from error
    except botocore.exceptions.NoRegionError as error:
        raise IndexUnavailableError(f"DynamoDB table {table}: no region is set; set AWS_REGION") from error
    except (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError) as error:
        raise IndexUnavailableError(
            f"DynamoDB table {table} does not answer ({error}); look at the network, AWS_REGION and AWS_ENDPOINT_URL"
        ) from error
    except botocore.exceptions.BotoCoreError as error:
        raise IndexUnavailableError(f"DynamoDB table {table}, {action}: {error}") from error


def _answered(table: str, action: str, error: botocore.exceptions.ClientError) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    message = " ".join(str(error.response.get("Error", {}).get("Message", "")).split())[:300]
    where = f"DynamoDB table {table}, {action}"
    if code == "ConditionalCheckFailedException":
        return ConditionFailedError(f"{where}: {message}")
    permission = _ACTION.search(message)
    for sign in _SIGNS:
        if code in sign.codes and sign.words in message:
            advice = sign.advice.format(
                table=table, said=message, permission=permission[0] if permission else f"dynamodb:{action}"
            )
            return sign.error(f"{where}: {advice}")
    return IndexUnavailableError(f"{where}: {code or 'error'}: {message}")
