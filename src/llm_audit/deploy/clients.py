"""Clients of AWS's services, made where one is needed. The only place that says how they are configured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from llm_audit.deploy.errors import WrongUsageError, require_boto3

if TYPE_CHECKING:
    from boto3 import Session
    from botocore.config import Config
    from mypy_boto3_apigateway.client import APIGatewayClient
    from mypy_boto3_cloudformation.client import CloudFormationClient
    from mypy_boto3_cloudwatch.client import CloudWatchClient
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_iam.client import IAMClient
    from mypy_boto3_lambda.client import LambdaClient
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sqs.client import SQSClient
    from mypy_boto3_sts.client import STSClient


@dataclass(frozen=True)
class Aws:
    """One account and region, by the usual credentials. Each client is made once, when it is first asked for."""

    region: str
    endpoint_url: str | None
    """Another endpoint than Amazon's, for every service; None: as each service has it."""
    attempts: int = 6
    """How often a request is tried; some ten seconds where nobody answers."""

    @cached_property
    def _session(self) -> Session:
        import boto3  # noqa: PLC0415 - an extra, and 200 ms: only who talks to AWS needs it

        return boto3.Session(region_name=self.region)

    @cached_property
    def _config(self) -> Config:
        from botocore.config import Config  # noqa: PLC0415 - as above

        style: Any = "path" if self.endpoint_url else "auto"
        return Config(
            retries={"mode": "standard", "total_max_attempts": self.attempts},
            connect_timeout=10,
            read_timeout=30,
            s3={"addressing_style": style},
            user_agent_extra="llm-audit",
        )

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        """Stacks."""
        return self._session.client("cloudformation", endpoint_url=self.endpoint_url, config=self._config)

    @cached_property
    def s3(self) -> S3Client:
        """Buckets and objects."""
        return self._session.client("s3", endpoint_url=self.endpoint_url, config=self._config)

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """The table."""
        return self._session.client("dynamodb", endpoint_url=self.endpoint_url, config=self._config)

    @cached_property
    def functions(self) -> LambdaClient:
        """The ingestion Lambda."""
        return self._session.client("lambda", endpoint_url=self.endpoint_url, config=self._config)

    @cached_property
    def sqs(self) -> SQSClient:
        """Queues."""
        return self._session.client("sqs", endpoint_url=self.endpoint_url, config=self._config)

    @cached_property
    def cloudwatch(self) -> CloudWatchClient:
        """Alarms."""
        return self._session.client("cloudwatch", endpoint_url=self.endpoint_url, config=self._config)

    @cached_property
    def iam(self) -> IAMClient:
        """Roles, and what they may do."""
        return self._session.client("iam", endpoint_url=self.endpoint_url, config=self._config)

    @cached_property
    def apigateway(self) -> APIGatewayClient:
        """The REST API's keys."""
        return self._session.client("apigateway", endpoint_url=self.endpoint_url, config=self._config)

    @cached_property
    def kms(self) -> Any:
        """The key that signs digests."""
        return self._session.client("kms", endpoint_url=self.endpoint_url, config=self._config)

    @cached_property
    def sts(self) -> STSClient:
        """Who we are."""
        return self._session.client("sts", endpoint_url=self.endpoint_url, config=self._config)

    @cached_property
    def account(self) -> str:
        """The account's twelve digits."""
        return self.sts.get_caller_identity()["Account"]

    @property
    def partition(self) -> str:
        """``aws``, ``aws-cn`` or ``aws-us-gov``."""
        return self._session.get_partition_for_region(self.region)

    def object_url(self, bucket: str, key: str) -> str:
        """Give the HTTPS address of an object, as CloudFormation takes it."""
        if self.s3_endpoint != self._amazon:
            return f"{self.s3_endpoint}/{bucket}/{key}"
        host = urlsplit(self._amazon).netloc
        return f"https://{bucket}.{host}/{key}"

    @property
    def s3_endpoint(self) -> str:
        """Where S3 is."""
        return self.s3.meta.endpoint_url.rstrip("/")

    @property
    def _amazon(self) -> str:
        suffix = "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"
        return f"https://s3.{self.region}.{suffix}"


def open_aws(region: str | None, endpoint_url: str | None) -> Aws:
    """Find the region where every AWS SDK finds it, and give what makes clients. Makes no request.

    Raises AwsMissingError without boto3, WrongUsageError where no region is set.
    """
    require_boto3()
    import boto3  # noqa: PLC0415 - as above

    found = region or boto3.Session().region_name
    if not found:
        raise WrongUsageError("no AWS region is set", "set AWS_REGION or --aws-region, such as eu-central-1")
    return Aws(found, endpoint_url)
