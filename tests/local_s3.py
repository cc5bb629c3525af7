"""The S3 of a local AWS, for tests."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import boto3
from botocore.config import Config

from llm_audit.store.aws import S3Settings


@dataclass(frozen=True)
class LocalS3:
    """A running server; ``test``/``test`` may do everything."""

    endpoint: str

    def settings(self) -> S3Settings:
        return S3Settings(
            region="us-east-1",
            endpoint_url=self.endpoint,
            allow_http=True,
            static_keys={"access_key_id": "test", "secret_access_key": "test"},
        )

    @functools.cache  # noqa: B019 - it lives as long as the tests do, and a client costs more than most calls
    def boto3(self):
        """Give an independent client, to look at what really lies there; always the same."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
        )

    def new_bucket(self, name: str) -> str:
        self.boto3().create_bucket(Bucket=name)
        return name
