"""The DynamoDB of the worker's local AWS; every test has a table of its own."""

from __future__ import annotations

import os

import pytest

from local_dynamodb import KEYS, LocalDynamoDB
from local_s3 import LocalS3


@pytest.fixture(scope="session")
def dynamodb(local_aws):
    before = {name: os.environ.get(name) for name in KEYS}
    os.environ.update(KEYS)
    yield LocalDynamoDB(LocalS3(local_aws.endpoint))
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture
def table(dynamodb):
    one = dynamodb.table(dynamodb.new_table())
    yield one
    one.close()
