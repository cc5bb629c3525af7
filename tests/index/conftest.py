"""One local DynamoDB for each test worker; every test has a table of its own."""

from __future__ import annotations

import os

import pytest

from local_dynamodb import KEYS, running_dynamodb


@pytest.fixture(scope="session")
def dynamodb(tmp_path_factory):
    before = {name: os.environ.get(name) for name in KEYS}
    os.environ.update(KEYS)
    with running_dynamodb(tmp_path_factory.mktemp("dynamodb") / "log") as server:
        yield server
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
